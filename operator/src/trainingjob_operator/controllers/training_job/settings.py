"""The operator's own configuration, as one frozen value that its entry point builds and hands down. Pure.

It must not read the environment or files: entry points do, once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretBytes
from pydantic.alias_generators import to_camel


class Misconfigured(ValueError):
    """What the operator was told cannot work; the message names what, and the fix."""


class Settings(BaseModel):
    """What the operator is told by whoever starts it; the same for all its jobs."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    operator_name: str = "batch.trainingjob.dev/operator"
    """Jobs whose `managedBy` says another name are left alone."""
    namespaces: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")], ...] = ()
    """Where jobs are looked after; nothing: in all namespaces."""
    watch_nodes: bool = True
    """Nodes are watched: their loss is evidence. Without it workers of a lost node are replaced for their silence."""
    operator_key: SecretBytes = SecretBytes(b"a key for reading plans, never for running them")
    """The root of every job's tokens and keys. Real operators make their own; the default only lets `plan` print."""
    older_keys: tuple[SecretBytes, ...] = ()
    """Former roots, newest first: jobs that started under one keep it until they are suspended."""
    default_image: str = "ghcr.io/trainingjob/trainer:0.1.0"
    """The trainer image of jobs that name none; pinned in the job's status when it starts."""
    rendezvous_image: str = "ghcr.io/trainingjob/operator:0.1.0"
    """The image of the rendezvous' pods; it holds no torch."""
    interface: str | None = None
    """The network interface of the process groups; None: gloo chooses."""
    rendezvous_port: int = 29400
    """The port of every rendezvous, its Service and its network policy."""
    rendezvous_requests: dict[str, str] = Field(default={"cpu": "50m", "memory": "96Mi"})
    """What a rendezvous asks of its node."""
    rendezvous_limits: dict[str, str] = Field(default={"memory": "512Mi"})
    """What a rendezvous may use at most."""
    suspend_timeout_seconds: float = 120.0
    """A suspended job gives its pods back after so long even without a last checkpoint."""
    progress_seconds: float = 10.0
    """The status' figures (step, loss, goodput …) are written at most this often, unless something else changed."""
    resync_seconds: float = 300.0
    """How often the jobs known are compared with those that there are, in case a deletion was missed."""
    lease_seconds: float = Field(default=15.0, gt=2, le=300)
    """An operator that has not been heard for so long is taken for dead, and a standby acts."""
    finish_seconds: float = 60.0
    """How long the workers of a finished job have to leave by themselves."""
    termination_grace_seconds: int = 60
    """The grace of a worker's pod: long enough for a last checkpoint."""
    operator_pod_labels: dict[str, str] = Field(default={"app.kubernetes.io/name": "trainingjob-operator"})
    """Labels of the operator's own pod, which a job's network policy lets in."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All roots of tokens and keys, newest first."""
        return tuple(key.get_secret_value() for key in (self.operator_key, *self.older_keys))
