"""What a TrainingJob owns: a row for each kind of child. Pure. The chart's rules for the operator are generated from it."""

from __future__ import annotations

from typing import Any

from trainingjob_operator.controllers.training_job import pods
from trainingjob_operator.controllers.training_job.children import revision
from trainingjob_operator.engine.resources import NETWORK_POLICIES, PODS, REVISIONS, SECRETS, SERVICES, ChildKind, Made, Watched

CHILD_KINDS: tuple[ChildKind[Any], ...] = (
    ChildKind(
        PODS,
        Made.POST,
        Watched.STATE,
        "Workers and rendezvous: made by POST, replaced under a new name, never changed.",
        read=pods.read,
        deleted=True,
        unique=False,
    ),
    ChildKind(
        SERVICES,
        Made.APPLY,
        Watched.PRESENCE,
        "The Service before a job's rendezvous, by server-side apply: its selector follows the epoch.",
    ),
    ChildKind(NETWORK_POLICIES, Made.APPLY, Watched.PRESENCE, "Who may talk to a job's pods, by server-side apply."),
    ChildKind(REVISIONS, Made.POST, Watched.CONTENT, "The immutable record of what a job was resolved to.", read=revision.read),
    ChildKind(SECRETS, Made.POST, Watched.NEVER, "A job's keys and tokens: made by POST, immutable, and never read back."),
)

CHILDREN = {row.resource.kind: row.resource for row in CHILD_KINDS}
"""What a job owns, by kind."""
