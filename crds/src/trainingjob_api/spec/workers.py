"""How many workers a job has, what each of them is, and what they reach. Pure.

Who may reach them is not for the job to say: its own pods, and the operator.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from trainingjob_api.spec.base import KeyName, LabelName, Labels, SpecModel, Whole, cel, one_of, refuse, rules
from trainingjob_api.spec.patterns import CIDR_PATTERN
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
    """Workers that train. Changing it on a running job, also by `kubectl scale`, makes the job grow or shrink at a step boundary."""
    min_replicas: Count | None = None
    """Training goes on while at least this many workers are left; below it, training waits for replacements with its state
    in memory. Default: the value of replicas."""
    max_replicas: Count | None = None
    """The most workers that replicas may be raised to, also by `kubectl scale`. Default: no limit of its own."""
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
    def world(self) -> int:
        """Training processes when all workers are there."""
        return self.replicas * self.processes_per_worker


def _is_network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise refuse("", f"{value!r} is no network: {error}; write it as 10.0.0.0/8 or 2001:db8::/32") from None
    return value


Cidr = Annotated[str, StringConstraints(min_length=3, max_length=43, pattern=CIDR_PATTERN), AfterValidator(_is_network)]
"""A range of addresses."""
Port = Annotated[Whole, Field(ge=1, le=65535)]
"""A TCP port."""


class Egress(SpecModel):
    """One destination: addresses, or pods of a namespace."""

    model_config = rules(  # namespace is a word of CEL's own: fields of that name are written with underscores
        cel("", "has(self.cidr) != has(self.__namespace__)", "exactly one of cidr and namespace is needed"),
        cel("except", "!has(self.except) || has(self.cidr)", "belongs to cidr"),
        cel("podLabels", "!has(self.podLabels) || has(self.__namespace__)", "belongs to namespace"),
    )

    cidr: Cidr | None = None
    """A range of addresses, such as 10.0.0.0/8, or 203.0.113.7/32 for one."""
    but_not: Annotated[list[Cidr] | None, Field(alias="except", max_length=16)] = None
    """Ranges within cidr that are not reached."""
    namespace: LabelName | None = None
    """The namespace whose pods are reached."""
    pod_labels: Labels | None = None
    """Labels that these pods have. Default: all pods of the namespace."""
    ports: Annotated[list[Port], Field(min_length=1, max_length=32)] | None = None
    """The TCP ports that are reached; of pods the containers' own, not their Service's. Default: all ports of every protocol."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        one_of(self, "cidr", "namespace")
        if self.but_not is not None and self.cidr is None:
            raise refuse("except", "belongs to cidr; remove it")
        if self.pod_labels is not None and self.namespace is None:
            raise refuse("podLabels", "belongs to namespace; remove it, or add namespace")
        for number, inner in enumerate(self.but_not or ()):
            if self.cidr is not None and not _within(inner, self.cidr):
                raise refuse(f"except[{number}]", f"{inner} is not a part of {self.cidr}; remove it, or correct one of them")
        return self


class Network(SpecModel):
    """The network of the job's pods, where it enforces policies."""

    egress: Annotated[list[Egress], Field(max_length=32)] | None = None
    """What the pods may reach beside each other and name servers: storage, data, a package index. [] for nothing else.
    Default: everything."""


def _within(inner: str, outer: str) -> bool:
    one, other = ipaddress.ip_network(inner), ipaddress.ip_network(outer)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one != other and one.subnet_of(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one != other and one.subnet_of(other)
    return False
