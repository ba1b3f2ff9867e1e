"""Which kinds this operator looks after: a line for each controller, and what all of them are told."""

from __future__ import annotations

from typing import Any

from trainingjob_operator.controllers.training_job.cluster import backend as training_job
from trainingjob_operator.controllers.training_job.settings import Settings as TrainingJobSettings
from trainingjob_operator.engine.cluster.controller import Make


class Settings(TrainingJobSettings):
    """The operator's configuration file: the engine's settings and those of every controller."""


CONTROLLERS: tuple[Make[Any], ...] = (training_job.make,)
