"""Where and how often the training state is saved. Pure; it opens no store."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from trainingjob_api.spec.base import Flag, ObjectName, Seconds, SpecModel, Whole, cel, refuse, rules
from trainingjob_api.spec.patterns import ENDPOINT_PATTERN, REGION_PATTERN, STORAGE_PATTERN

DEFAULT_STEPS = 100
"""Steps between two checkpoints where the spec names no interval."""


class Storage(SpecModel):
    """An object store and the job's place in it. One job owns it; a second one is refused."""

    model_config = rules(
        cel("endpointUrl", "!has(self.endpointUrl) || self.uri.startsWith('s3://')", "belongs to s3:// storage"),
        cel("region", "!has(self.region) || self.uri.startsWith('s3://')", "belongs to s3:// storage"),
    )

    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=STORAGE_PATTERN)]
    """s3://bucket/path, gs://bucket/path, az://container/path, or file:///absolute/path (a volume that all workers share)."""
    endpoint_url: Annotated[str, StringConstraints(max_length=1024, pattern=ENDPOINT_PATTERN)] | None = None
    """s3: the address of a store that is not Amazon's."""
    region: Annotated[str, StringConstraints(max_length=64, pattern=REGION_PATTERN)] | None = None
    """s3: the bucket's region."""
    credentials_secret_name: ObjectName | None = None
    """A Secret of the job's namespace whose keys become environment variables of the workers, such as AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY. Default: what the workers' service account may do."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, value in (("endpointUrl", self.endpoint_url), ("region", self.region)):
            if value is not None and not self.uri.startswith("s3://"):
                raise refuse(name, f"has no effect on {self.uri.split('://')[0]}:// storage; remove it")
        return self


class Checkpoint(SpecModel):
    """Where and how often the training state is saved."""

    model_config = rules(
        cel("", "!(has(self.everySteps) && has(self.everySeconds))", "only one of everySteps and everySeconds may be given"),
    )

    storage: Storage
    """Where checkpoints, the job's log, the workers' logs and the finished model are kept."""
    adopt: Flag = False
    """Take over a place that another job has claimed, with all its checkpoints."""
    allow_changes: Flag | None = None
    """Go on from a checkpoint that was made with another number of samples, globalBatchSize, seed, task class or task parameters than
    there are now; unless it is true that is refused. Training goes on with the next step, which is then another place in another epoch."""
    every_steps: Annotated[Whole, Field(ge=1, le=10**9)] | None = None
    """Save after every so many steps. Default, unless everySeconds is given: 100."""
    every_seconds: Seconds | None = None
    """Save at the first step boundary after so many seconds."""
    keep: Annotated[Whole, Field(ge=2, le=20)] = 3
    """Checkpoints that are kept; older ones are deleted."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.every_steps is not None and self.every_seconds is not None:
            raise refuse("", f"everySteps ({self.every_steps}) and everySeconds ({self.every_seconds}) are both given; keep one of them")
        return self

    @property
    def step_interval(self) -> int | None:
        """Steps between two checkpoints; None: the time decides."""
        return DEFAULT_STEPS if self.every_steps is None and self.every_seconds is None else self.every_steps
