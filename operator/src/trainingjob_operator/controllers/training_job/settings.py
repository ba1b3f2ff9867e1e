"""What the controller of TrainingJobs is told, as one frozen value that an entry point builds and hands down. Pure.

It must not read the environment or files: entry points do, once.
"""

from __future__ import annotations

from pydantic import Field

from trainingjob_operator.engine.settings import EngineSettings


class Settings(EngineSettings):
    """What is the same for all TrainingJobs."""

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
    finish_seconds: float = 60.0
    """How long the workers of a finished job have to leave by themselves."""
    termination_grace_seconds: int = 60
    """The grace of a worker's pod: long enough for a last checkpoint."""
    operator_pod_labels: dict[str, str] = Field(default={"app.kubernetes.io/name": "trainingjob-operator"})
    """Labels of the operator's own pod, which a job's network policy lets in."""
