"""All that an agent is told, in one frozen record. Pure.

Times come from the job's spec where a user may want to change them; the rest are the product's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from trainingjob_api.contract.runtime import WorkerEnvironment
from trainingjob_api.spec.job import JobSpec

DEFAULT_GRACE = 30.0
"""A pod's, where nobody says."""


def reserve(grace_seconds: float) -> float:
    """What an agent keeps of its pod's grace for its own last words."""
    return min(3.0, grace_seconds / 3)


def _shared_out(grace_seconds: float, *, script: bool) -> tuple[float, float]:
    """`leave_seconds`, `end_seconds`. A script gets the grace whole; a Task goes on to a step boundary, and is then ended quickly."""
    left = grace_seconds - reserve(grace_seconds)
    if script:
        return left, left
    end = min(5.0, left / 4)
    return left - end, end


@dataclass(frozen=True)
class Settings:
    """What the agent works by."""

    told: WorkerEnvironment
    spec: JobSpec
    environ: Mapping[str, str]
    """The agent's own environment: the user's variables, and credentials of the object store."""
    leave_seconds: float = 25.0
    """How long a SIGTERM waits for the members to reach a step boundary; less than the pod's grace."""
    end_seconds: float = 5.0
    """SIGTERM to SIGKILL of a training process, or of a script."""
    stopped_seconds: float = 30.0
    """For so long a training process may be stopped by a signal (SIGSTOP, a debugger) before it counts as hung."""
    failed_seconds: float = 60.0
    """How long a user error waits for the rendezvous to call the job failed."""
    log_seconds: float = 15.0
    """Between uploads of a growing log file."""
    attempts: int = 6
    """Tries of an upload before its save is void."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The settings in an environment.

        Raises:
            ValueError: a variable or the spec in it is missing or malformed.
        """
        told = WorkerEnvironment.from_env(environ)
        spec = JobSpec.model_validate_json(told.config)
        own = cls(told=told, spec=spec, environ=dict(environ))
        if told.grace_seconds is None:
            return own
        leave, end = _shared_out(told.grace_seconds, script=spec.training.script is not None)
        return replace(own, leave_seconds=leave, end_seconds=end)

    @property
    def grace_seconds(self) -> float:
        """From SIGTERM until the pod is killed."""
        return DEFAULT_GRACE if self.told.grace_seconds is None else self.told.grace_seconds

    @property
    def command(self) -> tuple[str, ...] | None:
        """The user's script, or None for a Task."""
        script = self.spec.training.script
        return None if script is None else tuple(script.command)

    @property
    def log_folder(self) -> Path:
        """Where the log files of this incarnation's lives lie."""
        return Path(self.told.scratch) / "runs" / str(self.told.worker) / str(self.told.incarnation)

    @property
    def beat_seconds(self) -> float:
        """The longest silence of a healthy agent."""
        return self.spec.recovery.heartbeat_timeout_seconds / 4
