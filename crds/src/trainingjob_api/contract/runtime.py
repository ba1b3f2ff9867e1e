"""The environment and the exit codes of the product's processes. Pure.

`to_env` is what the operator writes into a container, `from_env` what the process in it reads: `from_env(to_env(x)) == x`.
Every name starts with TRAININGJOB_ and is reserved: a user's template must not set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from trainingjob_api.contract.messages import LogPosition

CONTRACT_VERSION = 2
"""Grows when a message changes so that an older peer would misread it; additions do not count."""
OLDEST_CONTRACT = 1
"""Peers of this contract and of every later one up to CONTRACT_VERSION are understood."""

PREFIX = "TRAININGJOB_"
HASH_SEED = "PYTHONHASHSEED"
"""Python's own variable: from what the hashes of texts, and so the order of a set of them, follow."""
_HASH_SEEDS = 2**32


def hash_seed(seed: int) -> str:
    """Return the value of HASH_SEED in processes of a job with this seed: Python takes 32 bits."""
    return str(seed % _HASH_SEEDS)


class ExitCode(IntEnum):
    """How an agent or a training process ends. The operator's policy maps each to an action.

    Codes of the shell's range (126 and more, signals included) keep their usual meaning.
    """

    DONE = 0
    """The job's `done` entry is in its log, or the process left in order (its termination message says which)."""
    CRASHED = 1
    """Python's own code for an unhandled exception: retried, and counted."""
    USER_ERROR = 64
    """The manifest or the user's code cannot work as it is: never retried. The message names field and fix."""
    STORAGE = 65
    """The object store refuses or fails: retried."""
    REFUSED = 66
    """The rendezvous refused this process (token, build, incarnation): another one replaces it."""
    FENCED = 67
    """Another job owns the storage: never retried. Of a rendezvous: there is one of a higher epoch."""
    RENDEZVOUS_LOST = 68
    """No rendezvous answered for longer than the start-up limit."""


class Environment(BaseModel):
    """Base of a process's environment: one variable a field, named TRAININGJOB_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back; fields that are None are left out."""
        return {
            PREFIX + name.upper(): value if isinstance(value, str) else str(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables of this model.

        Raises:
            pydantic.ValidationError: (a ValueError) when one is missing or malformed.
        """
        names = {PREFIX + name.upper(): name for name in cls.model_fields}
        return cls.model_validate({names[key]: value for key, value in environ.items() if key in names})


class WorkerEnvironment(Environment):
    """What an agent is told by the operator, beside the user's own variables."""

    job: str
    """namespace/name of the job, for messages and logs."""
    job_uid: str
    """The uid of the TrainingJob: the owner of the storage prefix."""
    config: str
    """The job's spec as JSON (trainingjob_api.spec.job.JobSpec), as pinned when the job started. Holds no secret."""
    build: str
    """Names the image or source the job is pinned to; members of another build are refused."""
    worker: int
    """The worker's index, from 0."""
    incarnation: int
    """Grows each time this worker is replaced."""
    rendezvous: str
    """host:port of the job's rendezvous."""
    rendezvous_certificate: str
    """The rendezvous' certificate, PEM: the only one that is trusted."""
    token: str
    """The bearer token of role `worker`. Secret; never handed on to the training process."""
    address: str
    """The address at which the other workers reach this one."""
    interface: str | None = None
    """The network interface the process groups use, gloo's GLOO_SOCKET_IFNAME; None: gloo chooses."""
    grace_seconds: float | None = None
    """The pod's terminationGracePeriodSeconds: from SIGTERM until it is killed. None: whoever made the pod did not say."""
    termination_log: str = "/dev/termination-log"
    """Where the agent leaves its last words, a `Termination` as JSON of at most 4 KiB."""
    scratch: str = "/tmp"  # noqa: S108 - a pod's own emptyDir or file system
    """A folder for the log files of this worker's lives until they are uploaded."""


class RendezvousEnvironment(Environment):
    """What a rendezvous is told by the operator."""

    job: str
    """namespace/name of the job, for messages and logs."""
    job_uid: str
    """The uid of the TrainingJob."""
    epoch: int
    """`status.rendezvous.epoch`, written before this process was made."""
    intent: str
    """The first intent, JSON of trainingjob_api.contract.intent.Intent; replaced by what the operator's stream says."""
    bind: str = "0.0.0.0"  # noqa: S104 - a pod listens for the other pods; TLS and tokens guard it
    """The address to listen on."""
    port: int = 29400
    """The port to listen on."""
    certificate: str
    """PEM."""
    private_key: str
    """PEM. Secret."""
    worker_token: str
    """The token that agents present. Secret."""
    operator_token: str
    """The token that the operator presents. Secret."""
    heartbeat_timeout_seconds: float = 3.0
    """Silence after which a connected agent counts as lost."""
    join_window_seconds: float = 20.0
    """How long a generation waits for missing workers once `min_workers` are there."""


class Termination(BaseModel):
    """An agent's last words, read by the operator from the pod's termination message."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    code: int
    """An ExitCode."""
    message: str = ""
    """What happened, for a person; at most 1,024 characters."""
    done: bool = False
    """The job's `done` entry was seen in the log."""
    suspended_at_step: int | None = None
    """The step saved before leaving on request."""
    step: int | None = None
    """The last finished step this worker knows of."""
    log: LogPosition | None = None
    """With `done`: what is known of the log. Who did not listen when the job ended learns from it where the model is."""
