"""The kinds that this operator looks after, and what each owns: what the chart's rules are generated from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainingjob_operator.controllers.training_job.child_kinds import CHILD_KINDS
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS
from trainingjob_operator.engine.resources import ChildKind, Resource

KINDS: Mapping[Resource, tuple[ChildKind[Any], ...]] = {TRAINING_JOBS: CHILD_KINDS}
