"""What a rendezvous remembers between two decisions, and what it decides. Frozen records. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trainingjob_api.contract.messages import Generation, GenerationId, LogPosition, MemberId, Orders, Stage
from trainingjob_rendezvous.quorum.links import Cuts, Pair
from trainingjob_rendezvous.quorum.members import AgentId


@dataclass(frozen=True)
class History:
    """The past of one rendezvous, as far as a decision depends on it."""

    epoch: int
    grace_until: float = 0.0
    """Until then a restarted rendezvous adopts, and proposes nothing."""
    patience: float = 3.0
    """How long agents that were lost may take to come back with their state: heartbeat_timeout, in seconds."""
    join_window: float = 20.0
    """How long the first generation of an attempt waits for missing workers, in seconds."""
    settled: bool = False
    """The grace is over, or a generation was adopted."""
    n: int = 0
    """The highest n that was used or heard of."""
    attempt: int = 0
    """The highest attempt that was used or heard of."""
    heard: GenerationId | None = None
    """The highest generation that an agent named."""
    generation: Generation | None = None
    """The newest one."""
    stage: Stage = Stage.OVER
    since: float = 0.0
    """When `stage` began."""
    regroup: bool = False
    """The members were asked to leave at a step boundary."""
    log: LogPosition | None = None
    held: int = 0
    """The highest attempt of which a member was seen to hold state."""
    line: Generation | None = None
    """The last generation that could take steps: only its members' state can be the newest of its attempt."""
    refused: GenerationId | None = None
    """The generation whose opener found that its attempt had been opened before."""
    cuts: Cuts = field(default_factory=dict)
    """Pairs of pods that could not reach each other."""
    quiet: tuple[int, int] | None = None
    """(attempt, step) of the last generation that was left since nothing moved in it: at the same step that is done once."""
    claims: Mapping[AgentId, Orders | None] = field(default_factory=dict)
    """What each connected agent says it was last told."""

    def opened(self, attempt: int) -> bool:
        """The attempt was begun: whoever has no state of it cannot start it from storage again."""
        return self.held >= attempt or (self.log is not None and self.log.attempt >= attempt)

    def durable(self, attempt: int) -> int | None:
        """Step of the newest checkpoint that this attempt can be resumed from."""
        return self.log.checkpoint if self.log is not None and self.log.attempt >= attempt else None

    def line_of(self, attempt: int) -> frozenset[MemberId] | None:
        """Whose state can be the newest of the attempt; None: anybody's."""
        if self.line is None or self.line.id.attempt != attempt:
            return None
        return frozenset(seat.member for seat in self.line.seats)

    def floor(self, attempt: int) -> int:
        """The step that is known to be finished, and not lost: state before it is not the newest."""
        source = self.generation.source.state if self.generation is not None else None
        begun = source.step if source is not None and source.attempt == attempt else 0
        return max(begun, self.durable(attempt) or 0)


class Action(StrEnum):
    """What is to change."""

    NOTHING = "Nothing"
    ADOPT = "Adopt"
    """`generation` goes on running."""
    PROPOSE = "Propose"
    """`generation` is to be formed."""
    RUN = "Run"
    """All have formed the newest generation."""
    OVER = "Over"
    """The newest generation has ended; `generation` names it if it was not known."""
    REGROUP = "Regroup"
    """The newest generation is to be left at a step boundary."""


@dataclass(frozen=True)
class Decision:
    """What the rendezvous does next, and why."""

    action: Action = Action.NOTHING
    reason: str = ""
    generation: Generation | None = None
    done: bool = False
    """Everybody may exit with 0."""
    stopped: bool = False
    """`done` because the job was told to stop, and has."""
    state_lost: bool = False
    """Nobody holds the attempt's state any more: only a new attempt can go on."""
    cut: frozenset[Pair] = frozenset()
    """With OVER: the pairs for whose sake."""
    quiet: tuple[int, int] | None = None
    """With OVER: the (attempt, step) at which nothing moved."""
    wake_at: float | None = None
    """Decide again at this time even if nothing is heard until then."""
