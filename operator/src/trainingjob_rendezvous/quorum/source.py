"""Where a generation's state comes from: the newest finished one, by (attempt, step), then by what most members hold. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from trainingjob_api.contract.messages import SCRIPT, MemberId, Phase, Source, State
from trainingjob_rendezvous.quorum.members import Member


def usable(member: Member, attempt: int) -> State | None:
    """The member's state if it is of this attempt: the state of another line of history is worth nothing."""
    return member.state if member.idle() and member.state is not None and member.state.attempt == attempt else None


def without_stale(members: Iterable[Member], floor: int, line: Container[MemberId] | None) -> list[Member]:
    """The members, without the state of those that were left behind.

    A spare may still hold what it had when it was last seated. The generation after it may have gone on since, and may even be
    going on out of sight: starting again from the spare would finish the same steps twice in one attempt. A script has no state that
    could be stale: it begins anew in every generation.
    """
    return [replace(member, state=None) if _is_stale(member, floor, line) else member for member in members]


def _is_stale(member: Member, floor: int, line: Container[MemberId] | None) -> bool:
    if member.state is None or member.state.digest == SCRIPT:
        return False
    return member.state.step < floor or (line is not None and member.id not in line)


def starts_again(members: Iterable[Member], attempt: int) -> bool:
    """Somebody's script of this attempt waits to be started again: nothing is lost."""
    states = (member.state for member in members if member.phase is Phase.STARTING)
    return any(state is not None and state.attempt == attempt for state in states)


def newest(members: Iterable[Member], attempt: int) -> State | None:
    """The newest state among the idle members; of several digests at its step, the one most of them hold, the first on a tie."""
    states = [state for member in members if (state := usable(member, attempt)) is not None]
    if not states:
        return None
    step = max(state.step for state in states)
    at_step = [state for state in states if state.step == step]
    return Counter(at_step).most_common(1)[0][0]


def peer_source(seated: Sequence[Member], attempt: int) -> Source | None:
    """The source among members in the order of their ranks: the lowest rank that holds the newest state."""
    state = newest(seated, attempt)
    if state is None:
        return None
    rank = next(rank for rank, member in enumerate(seated) if usable(member, attempt) == state)
    return Source(kind="Peer", rank=rank, state=state)


def lone_holder(seated: Sequence[Member], everybody: Sequence[Member], attempt: int) -> Member | None:
    """A member outside the seats that holds a newer state than anybody on them; None: the seats do not lack it."""
    best = newest(everybody, attempt)
    on_seats = newest(seated, attempt)
    if best is None or (on_seats is not None and on_seats.step >= best.step):
        return None
    return next(member for member in everybody if usable(member, attempt) == best)
