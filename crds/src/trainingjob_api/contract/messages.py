"""What agents and the rendezvous say to each other: JSON over one WebSocket. Pure.

Both sides tell their *state*, whole, whenever it changes (`MemberReport`, `Orders`): repeating a message is harmless, and a new connection
starts with the same words as an old one went on with. Only the process groups' store and the making of a checkpoint are requests with an
answer. A training process hears the same `Orders`, handed on by its agent (see `channel`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from trainingjob_api.contract.base import Phase as Phase
from trainingjob_api.contract.base import Record as Record
from trainingjob_api.contract.ids import GenerationId as GenerationId
from trainingjob_api.contract.ids import MemberId as MemberId
from trainingjob_api.contract.stamps import MemberStamp

MAX_MESSAGE_BYTES = 1 << 20
"""A longer message is refused unread and the connection closed."""


SCRIPT = "script"
"""The digest of a script's state, which stands for nothing: a script begins anew in every generation."""


class State(Record):
    """The training state a member holds in memory, at a step boundary."""

    attempt: int
    """The line of history it belongs to."""
    step: int
    """Finished optimiser steps."""
    digest: str
    """A running hash over all reduced steps of this line: equal (attempt, step, digest) means equal state."""

    def key(self) -> tuple[int, int]:
        """What is newer has the greater key."""
        return (self.attempt, self.step)


class Failure(Record):
    """How a training process or an agent was lost, classified where it was seen."""

    member: MemberId
    cause: str
    """One of FailureCause; a plain string so that a newer agent's word passes an older operator."""
    message: str = ""
    """For a person: the exception's last line, or the signal's name. At most 1,024 characters."""
    raised: str = ""
    """Names an exception of the user's code, "task.py:42 KeyError", where nothing but that code seems to be behind it."""
    samples: bool = False
    """The exception was raised while samples were read."""
    exit_code: int | None = None
    """The process's exit code; negative: minus the signal."""
    step: int | None = None
    """The step it was in."""
    phase: str = ""
    """The phase it was in."""
    generation: GenerationId | None = None


class FailureCause(StrEnum):
    """Why a process was lost."""

    CRASH = "Crash"
    SIGNAL = "Signal"
    OUT_OF_MEMORY = "OutOfMemory"
    USER_ERROR = "UserError"
    STORAGE = "Storage"
    FENCED = "Fenced"
    """Another job owns the storage."""
    HUNG = "Hung"
    SILENT = "Silent"
    """The agent was not heard of for heartbeatTimeoutSeconds."""
    LOST = "Lost"
    """The agent's connection closed."""


class MemberReport(Record):
    """All that is known of one training process. Sent when it changes, and with every connection."""

    type: Literal["member"] = "member"
    member: MemberId
    phase: Phase
    generation: GenerationId | None = None
    """The generation it has formed or runs in."""
    state: State | None = None
    """What it holds, while Idle or Formed. None: nothing, or nothing that may be used (an interrupted update)."""
    failure: Failure | None = None
    """With phase Gone."""


class Progress(Record):
    """A member's step, sent about once a second while it runs; also the sign of life of its agent."""

    type: Literal["progress"] = "progress"
    member: MemberId
    step: int
    total_steps: int = 0
    loss: float | None = None
    """The reduced loss of the last step, mean over the global batch."""
    samples_per_second: float = 0.0
    """Of the whole job."""
    training_seconds: float = 0.0
    """Time this process has spent in finished steps of this attempt."""
    metrics: dict[str, float] = Field(default_factory=dict)
    not_finite: str | None = None
    """The newest evaluation's metrics that are no finite numbers, and so not in `metrics`, for a person; "": all are finite; None: this
    process has not evaluated yet."""
    skipping_since: int | None = None
    """The step of the first save that was skipped for want of room since the last one that was made; None: none was."""


class Beat(Record):
    """The agent lives. Sent when nothing else was for a while, and when its trouble changes."""

    type: Literal["beat"] = "beat"
    trouble: str = ""
    """What keeps it from storage just now, for a person; "": nothing that it knows of."""
    stamps: tuple[MemberStamp, ...] = Field(default=(), max_length=64)
    """Where its training processes are, about once a second while one is in a generation."""


class SaveId(Record):
    """One save: every rank of a generation writes its shard under `saves/<step>-<nonce>/`."""

    generation: GenerationId
    step: int

    def nonce(self) -> str:
        """Makes the folder unique among saves of the same step."""
        return self.generation.label()


NO_ENTRIES = "[]"
"""In place of a list of slices: they are in the shard's own front."""


class Shard(Record):
    """One object of a save, as it lies in storage, whole."""

    rank: int
    name: str
    """The file's name inside the save's folder: 00000.safetensors."""
    bytes: int
    sha256: str = ""
    blake3: str = ""
    """The checksum of the whole object, in lower-case hexadecimal; agents of contract 1 say sha256."""
    entries: str = NO_ENTRIES
    """JSON list of trainingjob_api.storage.manifest.TensorSlice: what the shard holds, of trainers that do not write it into the shard."""
    front_bytes: int = 0
    """The shard's bytes before its tensors', which list its slices (see trainingjob_api.storage.front)."""
    front_blake3: str = ""
    """Their checksum; "": the agent, or the rendezvous, does not know of them."""


class Saved(Record):
    """This member's shard of `save` is in storage, whole."""

    type: Literal["saved"] = "saved"
    member: MemberId
    save: SaveId
    shard: Shard
    position: str = "{}"
    """JSON of trainingjob_api.storage.manifest.Position: the same from every rank (data position, digest, metrics)."""


class Keep(Record):
    """A checkpoint that a rollback asks for, to be kept until the job goes back to it."""

    step: int
    request: str
    """The id of the rollback request."""


class LogPosition(Record):
    """The newest the sender knows of the job's log."""

    type: Literal["log"] = "log"
    seq: int
    """Number of the newest entry, -1: the log is empty."""
    attempt: int = 0
    """The highest attempt in the log; 0: none."""
    epoch: int = 0
    checkpoint: int | None = None
    """Step of the newest checkpoint that is visible."""
    checkpoint_time: float | None = None
    """When that checkpoint was committed, in seconds since 1970 by its writer's clock."""
    checkpoints: tuple[int, ...] = ()
    """Steps of the visible checkpoints that retention leaves, oldest first: at most 20, the pinned ones and the newest."""
    opened_attempt: int = 0
    """The attempt that this agent opened (fenced), if it did."""
    restored_step: int | None = None
    """The step that the opened attempt starts from."""
    request: str | None = None
    """The rollback request that was carried out when the attempt was opened."""
    missing_request: str | None = None
    """The rollback request whose checkpoint was gone when the attempt was opened, which therefore starts from the newest one."""
    asked: Keep | None = None
    """The newest of `Orders.keep` that the sender has answered."""
    found: bool = False
    """The answer: the log keeps that checkpoint until the job goes back to it. False: it is not there."""
    quarantined: tuple[int, ...] = ()
    """Steps of checkpoints found corrupt, newest last, at most 20."""
    exported: str | None = None
    """URI of the exported model."""
    done: bool = False
    """The `done` entry is there, and nothing after it revokes it."""
    result: dict[str, float] = Field(default_factory=dict)
    """The metrics in the `done` entry."""


class StoreRequest(Record):
    """A call of the process groups' store (torch.distributed.Store), answered by a StoreReply of the same id."""

    type: Literal["store"] = "store"
    id: int
    """Chosen by the asker; unique on its connection."""
    operation: Literal["set", "get", "add", "check", "wait", "delete", "compare_set"]
    prefix: str
    """The generation's label: what another generation wrote is not seen."""
    keys: tuple[str, ...]
    value: str = ""
    """Base64 for set, decimal text for add; for compare_set the expected and the desired value, each in base64, with a space between."""
    timeout_seconds: float = 30.0
    """How long get and wait wait for the key."""


class StoreReply(Record):
    """The answer to a StoreRequest."""

    type: Literal["store_reply"] = "store_reply"
    id: int
    value: str | None = None
    """Base64 for get and compare_set; decimal text for add; "1" or "0" for check and delete; "" otherwise. None: see error."""
    error: str | None = None
    """"timeout", "over" (the generation has ended), "full", or what is wrong with the request."""


class Hello(Record):
    """The first message of an agent on every connection."""

    type: Literal["hello"] = "hello"
    contract: int
    build: str
    worker: int
    incarnation: int
    address: str
    """Where the training processes of this worker can be reached."""
    epoch: int = 0
    """The highest epoch this agent has seen; a rendezvous of a lower one stands down."""
    generation: GenerationId | None = None
    """The highest generation this agent has seen."""
    keeps: bool = False
    """The agent obeys `Orders.keep`."""
    orders: Orders | None = None
    """The newest orders heard, so that a restarted rendezvous can adopt a running generation."""
    members: tuple[MemberReport, ...] = ()


class Leaving(Record):
    """The agent wants to leave in order (SIGTERM): its members stop after the step at which all know."""

    type: Literal["leaving"] = "leaving"


class Source(Record):
    """Where a generation's state comes from."""

    kind: Literal["Peer", "Storage"]
    """Peer: rank `rank` has it. Storage: rank 0 opens the attempt (fence, read the checkpoint or start fresh); then it is the source."""
    rank: int = 0
    state: State | None = None
    """With Peer: what the source holds; who holds the same copies nothing."""


class Seat(Record):
    """One rank of a generation."""

    member: MemberId
    slot: int
    """worker * processesPerWorker + process: fixes the order, and with it who computes what."""
    address: str


class Restore(Record):
    """The point an attempt starts from."""

    kind: Literal["Latest", "Step"] = "Latest"
    """Latest: the newest visible checkpoint, or fresh if there is none. Step: that checkpoint, hiding the newer ones."""
    step: int | None = None
    request: str | None = None
    """The id of the rollback request, recorded in the log."""


class Generation(Record):
    """An agreed, ordered set of members. Rank r is seats[r]."""

    id: GenerationId
    seats: tuple[Seat, ...]
    source: Source
    restore: Restore = Restore()
    """Of the attempt; used with source Storage."""
    purpose: Literal["Train", "Save"] = "Train"
    """Save: take no step; bring everybody to the source's state, save at once, report Idle (before a stop, or below `min_workers`)."""
    reason: str = ""
    """Why it was made, for a person."""

    def rank_of(self, member: MemberId) -> int | None:
        """The member's rank, or None if it has no seat."""
        return next((rank for rank, seat in enumerate(self.seats) if seat.member == member), None)


class Stage(StrEnum):
    """How far a generation is."""

    PROPOSED = "Proposed"
    """Members form their group and report Formed."""
    RUNNING = "Running"
    """All have formed it: steps may be taken."""
    OVER = "Over"
    """Cut its sockets, drop the group, report Idle."""


class Stop(Record):
    """A request to end in order."""

    request: str
    save: bool = True
    """Save first, and wait until the checkpoint is committed."""


class Orders(Record):
    """All that the rendezvous wants, as a state. Sent when it changes, and first on every connection."""

    type: Literal["orders"] = "orders"
    epoch: int
    generation: Generation | None = None
    """The newest one."""
    stage: Stage = Stage.OVER
    regroup: bool = False
    """A newer generation is wanted: stop after the step at which all ranks know, and report Idle."""
    stop: Stop | None = None
    save: str | None = None
    """A request for a checkpoint now; done once per id."""
    keep: Keep | None = None
    """A checkpoint that this agent is to pin in the log, and to say whether it is there. Sent to one agent at a time."""
    checkpoint: int | None = None
    """Step of the newest committed checkpoint."""
    done: bool = False
    """The `done` entry is in the log, or the job was told to stop and has: everybody may exit with 0."""
    failed: str | None = None
    """The job has failed for good; exit. The reason, for a person."""

    @property
    def is_over(self) -> bool:
        """The job has ended, well or not: no process begins anything."""
        return self.done or self.failed is not None

    def end(self, generation: GenerationId) -> bool:
        """Whether they end the generation for its members. Orders without any generation say nothing about it."""
        left = self.generation is not None and (self.generation.id != generation or self.stage is Stage.OVER)
        return self.is_over or left


class Commit(Record):
    """Every shard of `save` is in storage: the receiver writes its manifest and its log entry, and answers with LogPosition."""

    type: Literal["commit"] = "commit"
    save: SaveId
    world: int
    shards: tuple[Shard, ...]
    position: str = "{}"


class Refused(Record):
    """The last message before the rendezvous closes: this agent is not wanted."""

    type: Literal["refused"] = "refused"
    reason: str


AgentMessage = Annotated[Hello | MemberReport | Progress | Beat | Saved | LogPosition | StoreRequest | Leaving, Field(discriminator="type")]
"""What an agent sends."""

RendezvousMessage = Annotated[Orders | StoreReply | Commit | Refused, Field(discriminator="type")]
"""What the rendezvous sends to an agent."""

Hello.model_rebuild()
AGENT_MESSAGE: TypeAdapter[AgentMessage] = TypeAdapter(AgentMessage)
RENDEZVOUS_MESSAGE: TypeAdapter[RendezvousMessage] = TypeAdapter(RendezvousMessage)
