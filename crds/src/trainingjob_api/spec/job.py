"""The spec of a TrainingJob, whole. Pure.

It is also what the workers read as their configuration: `JobSpec.model_validate_json(spec.to_json())` gives the same spec.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from trainingjob_api.spec.base import Flag, Seconds, SpecModel, Whole, cel, refuse, rules
from trainingjob_api.spec.checkpoint import Checkpoint
from trainingjob_api.spec.patterns import IMAGE_PATTERN
from trainingjob_api.spec.recovery import Divergence, Recovery, Rollback
from trainingjob_api.spec.training import Training
from trainingjob_api.spec.workers import Network, Workers

MANAGER = "batch.trainingjob.dev/operator"
"""This product's operator, as managedBy names it."""


class JobSpec(SpecModel):
    """What the user wants of a job."""

    model_config = rules(
        cel(
            "divergence",
            "!has(self.training.script) || self.divergence.onNonFinite == 'Fail'",
            "onNonFinite belongs to a task; a script's loss is not seen",
        ),
    )

    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=IMAGE_PATTERN)] | None = None
    """The container image of the workers. Default: the operator's trainer image. Pinned when the job starts."""
    workers: Workers = Field(default_factory=Workers)
    """The worker pods of the job."""
    training: Training
    """What is trained and how."""
    checkpoint: Checkpoint
    """Where and how often the training state is saved."""
    recovery: Recovery = Field(default_factory=Recovery)
    """What is done when a worker is lost."""
    divergence: Divergence = Field(default_factory=Divergence)
    """What is done when the loss is no longer a finite number."""
    network: Network = Field(default_factory=Network)
    """What the job's pods may reach."""
    rollback: Rollback | None = None
    """Steps the job back to a kept checkpoint."""
    suspend: Flag = False
    """true: save, stop, and release the pods; false: go on from there."""
    managed_by: Annotated[str, StringConstraints(min_length=1, max_length=63)] = MANAGER
    """The controller that is to run this job; the operator leaves jobs of another one alone."""
    active_deadline_seconds: Seconds | None = None
    """The job fails after so many seconds, time suspended not counted. Default: never."""
    ttl_seconds_after_finished: Annotated[Whole, Field(ge=0, le=10 * 365 * 86400)] | None = None
    """The finished TrainingJob is deleted after so many seconds; what it stored stays. Default: never."""
    pod_retention: Literal["Never", "OnFailure", "Always"] = "OnFailure"
    """Which worker pods stay when the job has finished, for their logs: none, those of a failed job, or all."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.training.script is not None and self.divergence.on_non_finite != "Fail":
            raise refuse("divergence.onNonFinite", "is used by a task only, since a script's loss is not seen; remove it")
        return self

    @property
    def lanes(self) -> int:
        """Parts that every batch is cut into under `reduction: Deterministic`."""
        return self.training.lanes or self.workers.world

    def to_json(self) -> str:
        """The spec as the workers get it; fields that are absent stay absent."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
