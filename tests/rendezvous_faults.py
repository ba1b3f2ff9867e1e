"""What keeps the ranks of a made-up job from their next step, though every agent is heard: cut links, and processes that do not enter.

It also makes the stamps that the agents send, and remembers when a step was really finished: nobody may claim more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainingjob_api.contract.messages import Beat, Generation, Phase, Stage
from trainingjob_api.contract.stamps import Activity, MemberStamp
from trainingjob_rendezvous.rendezvous import Rendezvous
from trainingjob_rendezvous.still import LEAST_SECONDS

if TYPE_CHECKING:
    from rendezvous_world import Process

PATIENCE = 1.0
"""Seconds for which the kernels try before a process calls a connection cut."""
SLACK = 7.5
"""Seconds between a step and the turn in which it is known: what hypothesis lets pass without a turn, and a stamp's age."""


@dataclass
class Faults:
    """Links and processes that hold a step up."""

    links: dict[frozenset[int], float] = field(default_factory=dict)
    """Two workers -> since when they are cut."""
    busy: set[int] = field(default_factory=set)
    """Workers whose process computes for ever."""
    stepped: dict[Generation, float] = field(default_factory=dict)
    """When a generation's newest step was finished, by the rendezvous' own clock."""

    def cut(self, one: int, other: int, now: float) -> None:
        """Nothing gets from the one to the other."""
        if one != other:
            self.links.setdefault(frozenset((one, other)), now)

    def heal(self) -> None:
        """All is well again."""
        self.links.clear()
        self.busy.clear()

    def cut_within(self, generation: Generation) -> list[frozenset[int]]:
        """The generation's pairs that are cut."""
        workers = {seat.member.worker for seat in generation.seats}
        return [pair for pair in self.links if pair <= workers]

    def holds_up(self, generation: Generation) -> bool:
        """It finishes no step."""
        return bool(self.cut_within(generation)) or any(seat.member.worker in self.busy for seat in generation.seats)

    def beat(self, process: Process, now: float) -> Beat:
        """The agent lives, and says where its process is."""
        generation, member, phase = process.generation or process.forming, process.id, process.phase
        if phase is Phase.STARTING:
            return Beat()
        cut = [pair for pair in self.cut_within(generation) if member.worker in pair] if generation is not None else []
        busy = member.worker in self.busy and phase.running()
        waits = generation is not None and phase.running() and not busy
        others = {worker for pair in cut for worker in pair if now >= max(self.links[pair], process.since) + PATIENCE} - {member.worker}
        stamp = MemberStamp(
            process=member.process,
            life=member.life,
            generation=generation.id if generation is not None else None,
            step=process.state.step if process.state is not None else 0,
            phase=phase,
            activity=Activity.LOADING if busy else Activity.COMPUTING,
            entered=1 if waits else 0,
            step_seconds=0.1,
            cut_off=tuple(sorted(others)) if not busy else (),
        )
        return Beat(stamps=(stamp,))

    def check_claims(self, rendezvous: Rendezvous, now: float) -> None:
        """A rate, or a generation that runs and is not called stalled, only while steps go on."""
        report, generation = rendezvous.report(), rendezvous.history.generation
        if report.stage != Stage.RUNNING or generation is None or generation.purpose != "Train":
            assert report.stalled == ""
            return
        awake = rendezvous.pulse.awake(now)
        stepped = self.stepped.get(generation)
        began = stepped if stepped is not None else self.stepped.setdefault(generation, awake)
        if not report.stalled:
            assert awake - began <= LEAST_SECONDS + SLACK, f"no step for {awake - began:.1f} s, and nobody says so"
        else:
            assert report.samples_per_second == 0.0
            assert report.waits_for
        if self.holds_up(generation) and report.stalled:
            assert report.stalled in ("Data", "Link", "Hang", "Restoring", "Step"), report.stalled
