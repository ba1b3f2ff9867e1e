"""What is done about failures, divergence and a wish to go back. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trainingjob_api.spec.base import Number, Seconds, SpecModel, Whole
from trainingjob_api.spec.patterns import REQUEST_PATTERN

ExitStatus = Annotated[Whole, Field(ge=1, le=255)]


class Rule(SpecModel):
    """What is done when a training process ends with one of these exit codes."""

    exit_codes: Annotated[list[ExitStatus], Field(min_length=1, max_length=64)]
    """The exit codes; death by signal N counts as 128 + N."""
    action: Literal["Fail", "Count", "Ignore"]
    """Fail: the job fails at once. Count: the worker is replaced and the failure counts against maxFailures. Ignore: the
    worker is replaced and nothing is counted."""


class Recovery(SpecModel):
    """What is done when a worker is lost."""

    max_failures: Annotated[Whole, Field(ge=0, le=10**6)] = 5
    """Failures of the job's own making after which it fails. Evictions, preemptions and lost nodes do not count."""
    heartbeat_timeout_seconds: Annotated[Number, Field(ge=1, le=3600)] = 3.0
    """A worker that is silent for so long leaves the group; the others go on."""
    join_window_seconds: Annotated[Number, Field(ge=0, le=3600)] = 20.0
    """How long a start waits for the missing workers once minReplicas of them are there."""
    replace_after_seconds: Seconds = 30
    """A worker that is silent for so long is replaced even where nothing shows that its pod is dead."""
    startup_timeout_seconds: Seconds = 600
    """A new worker that has not been heard of for so long is replaced; one that finds no rendezvous for so long ends by itself. A job
    of which fewer than minReplicas run for so long gives its pods back for a while."""
    rules: Annotated[list[Rule], Field(max_length=32)] = Field(default_factory=list)
    """What exit codes mean for this job; the first rule that fits is taken."""


class Divergence(SpecModel):
    """What is done when the loss is no longer a finite number."""

    on_non_finite: Literal["Fail", "Ignore"] = "Fail"
    """Fail: the job fails, and says at which step. Ignore: the update is left out, and training goes on."""


class Rollback(SpecModel):
    """Steps the job back to a kept checkpoint; newer checkpoints are hidden. Done once for each request."""

    to_step: Annotated[Whole, Field(ge=0, le=10**9)]
    """The step of the checkpoint; `kubectl describe` and `trainingjob checkpoints` list them."""
    request: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=REQUEST_PATTERN)]
    """A word of your choice that names this request. A new one asks again; status.lastRollbackRequest shows the last one done."""
