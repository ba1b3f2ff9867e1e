"""What an agent and one of its training processes say to each other: JSON lines over a Unix socket pair. Pure.

The training process inherits the socket as a file descriptor; its number is in `ProcessEnvironment`. It never sees a
token, and never touches storage:
memory is shared through the agent's memfd arenas, opened as /proc/<agent>/fd/<n>.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from trainingjob_api.contract.messages import (
    NO_ENTRIES,
    GenerationId,
    MemberId,
    Orders,
    Phase,
    Record,
    Restore,
    SaveId,
    State,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import Environment


class ProcessEnvironment(Environment):
    """What a training process is told by its agent, beside the user's own variables."""

    job: str
    config: str
    """The job's spec as JSON."""
    channel: int
    """File descriptor of the socket to the agent."""
    stamp: int
    """File descriptor of the stamp page (see trainingjob_agent.stamp)."""
    worker: int
    incarnation: int
    process: int
    life: int
    interface: str | None = None
    import_path: str = ""
    """The user's PYTHONPATH, for the task's module and its modules; this process's own modules are found without it."""

    def member(self) -> MemberId:
        """Who this process is."""
        return MemberId(self.worker, self.incarnation, self.process, self.life)

    def is_first_life(self) -> bool:
        """It is the first process of its slot since the job was made."""
        return self.life == 0 and self.incarnation == 0


# --- training process -> agent ------------------------------------------------------------


class Standing(Record):
    """Where this process stands; the agent hands it on as a MemberReport."""

    type: Literal["standing"] = "standing"
    phase: Phase
    generation: GenerationId | None = None
    state: State | None = None


class Pace(Record):
    """Progress, about once a second; handed on as Progress."""

    type: Literal["pace"] = "pace"
    step: int
    total_steps: int
    loss: float | None = None
    samples_per_second: float = 0.0
    training_seconds: float = 0.0
    metrics: dict[str, float] = Field(default_factory=dict)
    not_finite: str | None = None
    """As Progress.not_finite."""
    skipping_since: int | None = None
    """The step of the first save that was skipped for want of room since the last one that was made; None: none was."""
    step_seconds: float = 0.0
    """Median length of the recent steps, in seconds; 0: none is finished yet."""


class Links(Record):
    """What this process sees of the group's connections while it waits for its peers, or forms the group; about twice a second."""

    type: Literal["links"] = "links"
    generation: GenerationId
    cut_off: tuple[int, ...] = ()
    """Workers whose connection stands still."""
    quiet_seconds: float = 0.0
    """Seconds without a byte on any connection, while this process had the processor."""
    watched: bool = False
    """The bytes on the connections are counted: it has waited in a collective for long."""


class OpenAttempt(Record):
    """Rank 0 asks: fence `generation`'s attempt, choose the checkpoint and read it. Answered by Opened."""

    type: Literal["open"] = "open"
    generation: GenerationId
    restore: Restore


class NeedArena(Record):
    """The snapshot arena is to have `buffers` buffers of `bytes` each. Answered by Arena, which replaces the one before."""

    type: Literal["need_arena"] = "need_arena"
    bytes: int
    buffers: int = 2


class Snapshot(Record):
    """A shard lies whole in buffer `buffer` of the arena, in safetensors format: upload it, then answer Released."""

    type: Literal["snapshot"] = "snapshot"
    save: SaveId
    rank: int
    buffer: int
    length: int
    """Bytes from the buffer's start."""
    entries: str = NO_ENTRIES
    """JSON list of TensorSlice, of trainers that do not write it into the shard."""
    position: str
    """JSON of Position."""


class ExportModel(Record):
    """The exported model lies in buffer `buffer`, in safetensors format: keep it under export/ (rank 0 only). Ends
    with Released, then Orders.done."""

    type: Literal["export"] = "export"
    generation: GenerationId
    step: int
    buffer: int
    length: int
    metadata: str
    """JSON: task, parameters, metrics, and what predict needs."""
    result: dict[str, float]
    """The metrics for the log's `done` entry."""


class UserError(Record):
    """The user's manifest or code cannot work: `message` names the field and the fix. The process exits with
    ExitCode.USER_ERROR after it."""

    type: Literal["user_error"] = "user_error"
    message: str


class Raised(Record):
    """An exception ends the process, which exits with ExitCode.CRASHED after it."""

    type: Literal["raised"] = "raised"
    message: str
    """The exception, and where the user's code raised it."""
    where: str = ""
    """As Failure.raised."""
    samples: bool = False
    """As Failure.samples."""


ProcessMessage = Annotated[
    Standing | Pace | Links | OpenAttempt | NeedArena | Snapshot | ExportModel | UserError | Raised | StoreRequest,
    Field(discriminator="type"),
]

# --- agent -> training process ------------------------------------------------------------


class Opened(Record):
    """The attempt is fenced, and `files` hold the checkpoint's shards, verified. Without files: start fresh at step 0."""

    type: Literal["opened"] = "opened"
    manifest: str | None = None
    """JSON of trainingjob_api.storage.manifest.Manifest."""
    files: dict[str, str] = Field(default_factory=dict)
    """Shard name -> path of a memfd (/proc/<agent>/fd/<n>) that holds the object; valid until this process answers Standing next."""
    error: str | None = None
    """The attempt could not be opened; the agent has reported why. Wait for other orders."""
    generation: GenerationId | None = None
    """The generation of the OpenAttempt that this answers: the answer to an older question is not taken for a newer one's."""


class Arena(Record):
    """The snapshot arena: `path` is to be mapped, shared and writable; buffer number first + i starts at offsets[i]."""

    type: Literal["arena"] = "arena"
    path: str
    offsets: tuple[int, ...]
    bytes: int
    first: int = 0
    """No number is given twice in a life, so that a Released of an older arena is not taken for one of a newer."""
    busy: tuple[int, ...] = ()
    """Numbers of buffers from which an earlier life's snapshot is still being uploaded: Released tells when they may be written."""


class Released(Record):
    """The upload from `buffer` has ended; it may be written again."""

    type: Literal["released"] = "released"
    buffer: int
    ok: bool = True
    message: str = ""


AgentToProcess = Annotated[Orders | StoreReply | Opened | Arena | Released, Field(discriminator="type")]

PROCESS_MESSAGE: TypeAdapter[ProcessMessage] = TypeAdapter(ProcessMessage)
AGENT_TO_PROCESS: TypeAdapter[AgentToProcess] = TypeAdapter(AgentToProcess)
