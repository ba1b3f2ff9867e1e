"""Who waits for whom in a running generation that finishes no step, by the stamps of its members. Pure.

A member inside a collective waits; the others are what it waits for. So the culprit is never who waits, and slow is told from hung by what
the culprit says it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainingjob_api.contract.intent import Stall
from trainingjob_api.contract.messages import Generation, Phase
from trainingjob_api.contract.stamps import Activity, MemberStamp
from trainingjob_rendezvous.quorum.members import Member

MOST_NAMED = 4
"""Workers that a sentence names."""


@dataclass(frozen=True)
class Wait:
    """What a generation waits for."""

    stall: Stall
    words: str
    """For a person."""


def wait_of(generation: Generation, members: Sequence[Member], *, trouble: str = "", links: str = "") -> Wait:
    """Return what the generation waits for.

    Args:
        generation: which runs.
        members: everybody connected.
        trouble: what keeps a worker from storage; "": nothing.
        links: which workers cannot reach each other; "": none.
    """
    present = {member.id: member for member in members}
    seated = [present[seat.member] for seat in generation.seats if seat.member in present]
    if links:
        return Wait(Stall.LINK, links)
    stopped = [member for member in seated if member.stamp is not None and member.stamp.stopped]
    if stopped:
        return Wait(Stall.HANG, f"{workers(stopped)} {_are(stopped)} stopped by a signal")
    culprits = [member for member in seated if not _waits(member.stamp)]
    if not culprits and any(_sees_bytes(member.stamp) for member in seated):
        return Wait(Stall.STEP, "all ranks are in a collective, and bytes move: the network is slow, or there is much to exchange")
    callers = [member for member in seated if member.stamp is not None and member.stamp.calling]
    if not culprits and 0 < len(callers) < len(seated):
        return _uncalled(callers, [member for member in seated if member not in callers])
    if not culprits:
        return Wait(Stall.HANG, "all ranks wait for each other in a collective, and nothing moves")
    return _culprits(generation, culprits, len(culprits) < len(seated), trouble)


def _uncalled(callers: Sequence[Member], others: Sequence[Member]) -> Wait:
    """Return the wait of ranks in a collective of the task's own code, while the others are in the step's own.

    The others may not have called it. They may also be done with it: the root of a broadcast leaves before the others have received.
    """
    stamp = next(member.stamp for member in callers if member.stamp is not None)
    name, _, number = stamp.calling.partition(" ")
    which = f"torch.distributed.{name}, call {number} of the task in step {(stamp.step or 0) + 1}"
    causes = "either the task did not call it there, as every worker must, or the network failed"
    missing = f"{workers(others)} {_are(others)} not in it: {causes}"
    return Wait(Stall.HANG, f"{workers(callers)} {_verb(callers, 'wait')} in {which}; {missing}")


def _culprits(generation: Generation, culprits: Sequence[Member], others: bool, trouble: str) -> Wait:
    """Of those who are in no collective: what the first kind of them does, in the order of how sure that is."""
    rest = "; the others wait" if others else ""
    for phase, find in ((Phase.RESTORING, _restoring), (Phase.FINISHING, _finishing), (Phase.EVALUATING, _evaluating)):
        found = [member for member in culprits if member.phase is phase]
        if found:
            return find(generation, found, rest, trouble)
    loading = [member for member in culprits if member.stamp is not None and member.stamp.activity == Activity.LOADING]
    if loading:
        return Wait(Stall.DATA, f"{workers(loading)} {_verb(loading, 'wait')} for {_its(loading)} dataset's samples{rest}")
    first = [member for member in culprits if member.stamp is not None and not member.stamp.step_seconds]
    if first:
        return Wait(Stall.COMPILE, f"{workers(first)} {_verb(first, 'compute')} {_its(first)} first step, which may compile{rest}")
    steps = [member.stamp.step for member in culprits if member.stamp is not None and member.stamp.step is not None]
    which = f"step {min(steps) + 1}" if steps else "a step"
    return Wait(Stall.STEP, f"{workers(culprits)} {_verb(culprits, 'compute')} {which} for unusually long{rest}")


def _restoring(generation: Generation, found: Sequence[Member], rest: str, trouble: str) -> Wait:
    if generation.source.kind == "Storage" and trouble:
        return Wait(Stall.STORAGE, trouble)
    if generation.source.kind == "Storage":
        return Wait(Stall.RESTORING, f"{workers(found)} {_verb(found, 'read')} the checkpoint{rest}")
    return Wait(Stall.RESTORING, f"{workers(found)} {_verb(found, 'take')} the state from a peer{rest}")


def _finishing(generation: Generation, found: Sequence[Member], rest: str, trouble: str) -> Wait:
    if trouble:
        return Wait(Stall.STORAGE, f"no step follows, and storage has yet to take what they made; {trouble}")
    return Wait(Stall.FINISHING, "the last step is done: the model is measured, saved and exported")


def _evaluating(generation: Generation, found: Sequence[Member], rest: str, trouble: str) -> Wait:
    return Wait(Stall.EVALUATING, f"{workers(found)} {_verb(found, 'measure')} on the validation data{rest}")


def _waits(stamp: MemberStamp | None) -> bool:
    return stamp is not None and stamp.waits()


def _sees_bytes(stamp: MemberStamp | None) -> bool:
    return stamp is not None and stamp.watched and stamp.quiet_seconds == 0.0


def workers(members: Sequence[Member]) -> str:
    """Return the members' workers in words: worker 1, or workers 0, 2 and 3."""
    numbers = sorted({member.id.worker for member in members})
    return named(numbers)


def named(numbers: Sequence[int]) -> str:
    """Return workers in words, from their numbers."""
    if len(numbers) == 1:
        return f"worker {numbers[0]}"
    if len(numbers) > MOST_NAMED:
        return f"workers {', '.join(map(str, numbers[:MOST_NAMED]))} and {len(numbers) - MOST_NAMED} more"
    return f"workers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _is_one(members: Sequence[Member]) -> bool:
    return len({member.id.worker for member in members}) == 1


def _verb(members: Sequence[Member], verb: str) -> str:
    return f"{verb}s" if _is_one(members) else verb


def _are(members: Sequence[Member]) -> str:
    return "is" if _is_one(members) else "are"


def _its(members: Sequence[Member]) -> str:
    return "its" if _is_one(members) else "their"
