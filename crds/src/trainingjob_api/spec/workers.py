"""How many workers a job has, and what each of them is. Pure."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from trainingjob_api.spec.base import KeyName, SpecModel, Whole, cel, refuse, rules
from trainingjob_api.spec.template import PodTemplate

MAX_WORKERS = 512
"""Workers of one job, spares included."""

Count = Annotated[Whole, Field(ge=1, le=MAX_WORKERS)]


class Workers(SpecModel):
    """The worker pods of the job."""

    model_config = rules(
        cel("minReplicas", "!has(self.minReplicas) || self.minReplicas <= self.replicas", "must not be more than replicas"),
        cel("maxReplicas", "!has(self.maxReplicas) || self.maxReplicas >= self.replicas", "must not be less than replicas"),
        cel("spares", f"self.replicas + self.spares <= {MAX_WORKERS}", f"replicas and spares together must not be more than {MAX_WORKERS}"),
        cel(
            "gpus",
            "self.gpus == 0 || self.processesPerWorker <= self.gpus",
            "must be 0 or at least processesPerWorker",
        ),
    )

    replicas: Count = 1
    """Workers that train. Changing it on a running job makes the job grow or shrink at a step boundary."""
    min_replicas: Count | None = None
    """Training goes on while at least this many workers are left; below it, training waits for replacements with its state
    in memory. Default: the value of replicas."""
    max_replicas: Count | None = None
    """The most workers that replicas may be raised to. Default: no limit of its own."""
    spares: Annotated[Whole, Field(ge=0, le=MAX_WORKERS)] = 0
    """Workers that are kept warm without training, to take a lost worker's place at once."""
    processes_per_worker: Annotated[Whole, Field(ge=1, le=64)] = 1
    """Training processes in each worker. With GPUs, usually the number of GPUs."""
    gpus: Annotated[Whole, Field(ge=0, le=64)] = 0
    """GPUs of each worker; 0 trains on the CPU."""
    gpu_resource_name: KeyName = "nvidia.com/gpu"
    """The resource that gpus asks for, as the cluster's device plugin names it."""
    template: PodTemplate = Field(default_factory=PodTemplate)
    """What the worker pods are to have beyond what the operator gives them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_replicas is not None and self.min_replicas > self.replicas:
            raise refuse("minReplicas", f"{self.min_replicas} is more than replicas ({self.replicas}); lower it or raise replicas")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise refuse("maxReplicas", f"{self.max_replicas} is less than replicas ({self.replicas}); raise it or lower replicas")
        if self.replicas + self.spares > MAX_WORKERS:
            raise refuse("spares", f"replicas ({self.replicas}) and spares ({self.spares}) are more than {MAX_WORKERS}; lower one of them")
        if self.gpus and self.processes_per_worker > self.gpus:
            processes = self.processes_per_worker
            raise refuse("gpus", f"{self.gpus} is less than processesPerWorker ({processes}); each process needs a GPU of its own")
        return self

    @property
    def minimum(self) -> int:
        """Fewer workers than this do not train."""
        return self.replicas if self.min_replicas is None else self.min_replicas

    @property
    def maximum(self) -> int:
        """More workers than this are never asked for."""
        return MAX_WORKERS if self.max_replicas is None else self.max_replicas

    @property
    def world(self) -> int:
        """Training processes when all workers are there."""
        return self.replicas * self.processes_per_worker
