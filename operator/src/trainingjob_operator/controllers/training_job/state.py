"""What the operator sees and what it decides, as frozen values. Pure: no clock, no randomness, no I/O.

    observe (effect) -> Observed -> plan (pure) -> Plan -> act (effect)

The two backends, Kubernetes and local processes, make the same `Observed` and act on the same `Plan`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from trainingjob_api.contract.intent import Intent, Report
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.resource import API_VERSION, KIND, PLURAL, TrainingJob
from trainingjob_api.status import Status
from trainingjob_operator.engine.resources import Resource
from trainingjob_operator.engine.values import Deletion, Event, Manifest, ResourceKey

TRAINING_JOBS = Resource(API_VERSION, KIND, PLURAL, noun="job")


def job_key(namespace: str, name: str) -> ResourceKey:
    """Return the key of a TrainingJob."""
    return ResourceKey(KIND, namespace, name)


class Role(StrEnum):
    """What a pod of a job is, its label batch.trainingjob.dev/role."""

    RENDEZVOUS = "rendezvous"
    WORKER = "worker"


class PodPhase(StrEnum):
    """Kubernetes' own words."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


NODE_LOST = "NodeLost"
"""The reason of a pod whose node is not ready, out of service or gone."""


@dataclass(frozen=True)
class Pod:
    """A pod of the job, as far as decisions need it."""

    name: str
    role: Role
    phase: PodPhase
    index: int = 0
    """The worker's index; 0 for the rendezvous."""
    incarnation: int = 0
    """Of a worker; for the rendezvous: its epoch."""
    node: str = ""
    """Where it runs; "": not known, or of no meaning."""
    created: datetime | None = None
    """None: not known."""
    deleting: bool = False
    termination: Termination | None = None
    """The agent's last words."""
    exit_code: int | None = None
    reason: str = ""
    """Why it is not running: ImagePullBackOff, Unschedulable, Evicted, OOMKilled, NodeLost …"""
    message: str = ""
    stuck: bool = False
    """It should be gone by now, its node cannot say so, and nothing that only one pod may hold is in its hands."""

    def over(self) -> bool:
        """It will not run (again)."""
        return self.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)


@dataclass(frozen=True)
class Pinned:
    """What all pods of one life of a job are made from, as its ControllerRevision keeps it. A life ends with a suspension."""

    name: str
    """The revision's; it carries a hash of the data."""
    data: str = field(repr=False)
    """The revision's data, as JSON (see children.revision): it is kept for every job, and read when a pod is to be made."""
    port: int
    """The rendezvous'."""

    def content(self) -> Manifest:
        """The data, anew with every call."""
        found: Manifest = json.loads(self.data)
        return found


@dataclass(frozen=True)
class Observed:
    """Everything a pass looks at."""

    job: TrainingJob
    pods: tuple[Pod, ...] = ()
    objects: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of the job's other children that exist: Secret, Service, NetworkPolicy, ControllerRevision."""
    pinned: Pinned | None = None
    """Of the ControllerRevision that the status names; None: it is not there, or not what its name says."""
    rendezvous_address: str | None = None
    """host:port at which agents reach the rendezvous, known once its Service exists."""
    report: Report | None = None
    """The newest one of the present epoch's rendezvous."""
    reporting: bool = False
    """The stream to the rendezvous stands, and a report has come over it."""
    unheard_seconds: float = 0.0
    """Since anything came from the rendezvous, or since this operator has listened for it."""
    connecting: bool = False
    """It is being opened for the first time, and has not had much time yet: whether anybody is there is not known."""
    silent_seconds: dict[int, float] = field(default_factory=dict)
    """Worker index -> how long the rendezvous has been without it, while its pod is said to run."""
    problem: str = ""
    """The manifest cannot be read, and why; `job.spec` is then a stand-in that nothing may be concluded from."""
    refused: str = ""
    """Why something that is to exist is not taken by whoever holds it: a quota is full, a pod is not allowed."""
    children_first: bool = False
    """Whoever carries the plan out can make pods before it writes the status that names them."""
    inherited: bool = False
    """This operator has not finished a pass over the job yet. One before it may have made pods that the status does not name."""
    closing: bool = False
    """Nothing can be made for the job any more, since all around it is being deleted."""

    def is_begun(self) -> bool:
        """Return whether anything of the job was ever created. A ControllerRevision is the first of all children."""
        return bool(self.pods) or any(kind == "ControllerRevision" for kind, _ in self.objects)


@dataclass(frozen=True)
class Plan:
    """What one pass does, in this order: status (if it differs), then creations, deletions, intent, events.

    A pass whose status changes what is *wanted* (attempt, epoch, incarnations) does nothing else and asks to run again at once:
    intent is written before its effect, and a crash after any line is mended by the next pass. With `children_first` it goes on.
    """

    status: Status
    create: tuple[Manifest, ...] = ()
    """What is to exist: pods and Secrets by POST, the rest applied (a Service that is there already may change)."""
    delete: tuple[Deletion, ...] = ()
    """Children that are to go."""
    delete_job: bool = False
    """The TrainingJob itself is to go, and with it all that it owns. Nothing else in a plan deletes it."""
    intent: Intent | None = None
    """What the rendezvous is to be told; None: nothing runs."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until the next pass, if nothing happens before."""
    children_first: bool = False
    """The creations come before the status, which names them: one write in place of two (decision 26)."""

    def is_first_half(self) -> bool:
        """The pass only changes what is wanted; the next one, now, does it and tells it."""
        return self.intent is None and self.requeue_after == 0.0
