"""What the operator and a rendezvous say to each other: intent in, reports out, over one WebSocket. Pure.

Both are states, not sequences: the newest one replaces all before it. A report is hostile input to the operator: its
size is capped, its parsing strict.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, TypeAdapter

from trainingjob_api.contract.messages import Failure, GenerationId, Keep, LogPosition, Record, Restore, Stop

MAX_REPORT_BYTES = 64 << 10
"""A longer report is refused unread."""


class WorkerSeat(Record):
    """A pod that may join: any other incarnation of this worker is refused."""

    worker: int
    incarnation: int
    node: str = ""
    """Where the pod runs, once that is known: of two that cannot reach each other, the one on the node with fewer workers stays out."""


class Intent(Record):
    """What the operator wants of a rendezvous."""

    type: Literal["intent"] = "intent"
    epoch: int
    attempt: int
    restore: Restore = Restore()
    """The point the attempt starts from."""
    workers: tuple[WorkerSeat, ...] = ()
    replicas: int = 1
    """Workers that hold ranks: slots 0 .. replicas * processes_per_worker - 1. The workers listed beyond them are spares."""
    min_workers: int = 1
    """Fewer whole workers than this do not train."""
    processes_per_worker: int = 1
    build: str = ""
    """Members of another build are refused."""
    save: str | None = None
    """A request for a checkpoint now, carried out once per id. Reserved: rendezvous and trainer know it, no operator sends it yet."""
    keep: Keep | None = None
    """The checkpoint of a rollback that waits for it: one agent pins it. The answer is in `Report.log`."""
    stop: Stop | None = None
    failed: str | None = None
    """The job has failed for good: everybody exits."""


class Stall(StrEnum):
    """What a running generation waits for."""

    STORAGE = "Storage"
    LINK = "Link"
    """The network between two workers."""
    DATA = "Data"
    """A dataset that does not hand over its samples."""
    COMPILE = "Compile"
    """The first step of a process, which may compile the model."""
    STEP = "Step"
    """A step of unusual length."""
    HANG = "Hang"
    """A process that is stopped, or all ranks wait for each other."""
    RESTORING = "Restoring"
    EVALUATING = "Evaluating"
    FINISHING = "Finishing"
    """The last step is done: measuring, saving, exporting."""


class MemberView(Record):
    """One member as the operator sees it."""

    worker: int
    incarnation: int
    process: int = 0
    phase: str = ""
    step: int | None = None


class Report(Record):
    """What a rendezvous knows of its job. Sent when it changes, at most every half second."""

    type: Literal["report"] = "report"
    epoch: int
    attempt: int = 0
    """Of the newest intent that the rendezvous has taken in."""
    generation: GenerationId | None = None
    stage: str = ""
    reason: str = ""
    """Why the generation was made, or why there is none."""
    world: int = 0
    """Members in the running generation."""
    members: tuple[MemberView, ...] = Field(default=(), max_length=512)
    step: int | None = None
    total_steps: int = 0
    loss: float | None = None
    samples_per_second: float = 0.0
    training_seconds: float = 0.0
    """Time spent in steps of the present attempt (the largest a member reported)."""
    metrics: dict[str, float] = Field(default_factory=dict, max_length=32)
    not_finite: str | None = None
    """As Progress.not_finite, of the member that is furthest."""
    log: LogPosition | None = None
    keeps: bool = False
    """`Intent.keep` is or will be obeyed: not all connected agents are too old for it. False also of a rendezvous that is too old."""
    state_lost: bool = False
    """No member holds the attempt's state any more: only a new attempt can go on, from a checkpoint."""
    failures: tuple[Failure, ...] = Field(default=(), max_length=20)
    """The newest ones, oldest first."""
    failure_count: int = 0
    """All failures this rendezvous has seen in its epoch."""
    saved_request: str | None = None
    """The last `save` request that was carried out."""
    stopped: str | None = None
    """The last `stop` request that was carried out: all members have left the loop."""
    stopped_at_step: int | None = None
    trouble: str = ""
    """What keeps a worker from storage just now, for a person; "": nothing that is known."""
    skipping_since: int | None = None
    """The step of the first save that was skipped for want of room since the last one that was made; None: none was."""
    still_seconds: float = 0.0
    """Seconds since the last finished step of the running generation, once they are too many; else 0."""
    stalled: str = ""
    """Why no step is finished for so long, one of Stall; "": steps go on, or no generation runs."""
    waits_for: str = ""
    """Who waits for whom, or for what, for a person; with `stalled`."""
    links: str = ""
    """Which workers cannot reach each other, and who is left out for it, for a person; "": none that are known."""


INTENT: TypeAdapter[Intent] = TypeAdapter(Intent)
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
