"""The next generation, while none is formed or runs: who, from which state, what for, or what it waits for. Pure and total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import Generation, GenerationId, Restore, Source, State, Stop
from trainingjob_rendezvous.quorum.history import Action, Decision, History
from trainingjob_rendezvous.quorum.links import TOGETHER_SECONDS, Pair, apart, left_out, newest_cut
from trainingjob_rendezvous.quorum.members import AgentId, Member, by_id
from trainingjob_rendezvous.quorum.seats import (
    Seating,
    as_seats,
    needed_workers,
    ready_times,
    seat,
    slots,
    wanted,
    with_holder,
)
from trainingjob_rendezvous.quorum.source import lone_holder, newest, peer_source, starts_again, usable, without_stale

SAVE_AGAIN_SECONDS = 10.0
"""How long the commit of a save is awaited before its members are asked to save again."""


def propose(now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    """What to do while no generation is formed or runs. See `quorum` for the arguments."""
    busy = [member.id.label() for member in members if history.generation and member.within(history.generation.id)]
    if busy:
        return Decision(reason=f"waiting until {', '.join(busy)} has left the last generation")
    attempt = max(intent.attempt, history.attempt)
    idle = without_stale((member for member in members if member.idle()), history.floor(attempt), history.line_of(attempt))
    state = newest(idle, attempt)
    waits = state is None and starts_again(members, attempt)
    if state is None and not waits and history.opened(attempt) and now < history.since + history.patience:
        return Decision(reason="waiting for lost agents to come back with their state", wake_at=history.since + history.patience)
    holders = {member.agent for member in idle if state is not None and usable(member, attempt) == state}
    everyone, present = idle, {member.agent for member in idle}
    pairs = frozenset(pair for pair in apart(history.cuts, now) if pair <= present)
    out = left_out(pairs, present, intent, keep=holders)
    idle = [member for member in everyone if member.agent not in out]
    if intent.stop is not None:
        return _stop(now, idle, intent.stop, history, state)
    if waits:
        return Decision(reason="the script has failed; it starts again after a pause")
    seating = _seating(idle, attempt, intent, history)
    ready = ready_times(seating, intent)
    if state is None and history.opened(attempt):
        return Decision(reason=f"nobody holds the state of attempt {attempt} any more", state_lost=True)
    if len(ready) < needed_workers(intent):
        hold = _hold(now, idle, intent, history, state, len(ready))
        return _together(now, everyone, out, pairs, hold, attempt, intent, history)
    return _train(now, seating, ready, attempt, intent, history)


def _stop(now: float, idle: Sequence[Member], stop: Stop, history: History, state: State | None) -> Decision:
    if stop.save and state is not None and _unsaved(state, history):
        return _save(now, idle, state, history, "save before the stop")
    return Decision(done=True, stopped=True, reason="the job has stopped")


def _hold(now: float, idle: Sequence[Member], intent: Intent, history: History, state: State | None, ready: int) -> Decision:
    """Too few workers: what is in memory is saved once, and stays there."""
    if state is not None and _unsaved(state, history):
        return _save(now, idle, state, history, "save while too few workers are ready")
    return Decision(reason=f"{ready} of at least {needed_workers(intent)} workers are ready")


def _together(
    now: float,
    everyone: Sequence[Member],
    out: frozenset[AgentId],
    pairs: frozenset[Pair],
    hold: Decision,
    attempt: int,
    intent: Intent,
    history: History,
) -> Decision:
    """Too few workers without those left out: to keep a pair apart gains nothing then, so it is tried again after some seconds.

    What is in memory is saved before that: `hold` is what to do until then.
    """
    if not out or hold.action is not Action.NOTHING:
        return hold
    seating = _seating(everyone, attempt, intent, history)
    ready = ready_times(seating, intent)
    if len(ready) < needed_workers(intent):
        return hold
    again_at = newest_cut(history.cuts, pairs) + TOGETHER_SECONDS
    if now < again_at:
        return replace(hold, wake_at=min(again_at, hold.wake_at or again_at))
    return _train(now, seating, ready, attempt, intent, history)


def _seating(idle: Sequence[Member], attempt: int, intent: Intent, history: History) -> Seating:
    incumbents = {seat.member: seat.slot for seat in history.generation.seats} if history.generation else {}
    seating = seat(wanted(idle, intent), intent, incumbents)
    holder = lone_holder(_ranks(seating), idle, attempt)
    if holder is not None and seating:  # a holder that is to go is kept for somebody to copy from it, not to train alone
        return with_holder(seating, holder, intent)
    return seating


def _train(now: float, seating: Seating, ready: Sequence[float], attempt: int, intent: Intent, history: History) -> Decision:
    seated = _ranks(seating)
    source = peer_source(seated, attempt)
    restore = Restore()
    if source is None:
        if intent.attempt < attempt:
            return Decision(reason=f"attempt {attempt} is known to have begun: waiting for the operator's word on it")
        source, restore = Source(kind="Storage"), intent.restore
    first = history.generation is None or history.generation.id.attempt < attempt
    missing = [slot for slot in slots(intent) if slot not in seating]
    full_at = ready[needed_workers(intent) - 1] + history.join_window
    if first and source.kind == "Storage" and missing and now < full_at:
        return Decision(reason=f"{len(missing)} of {len(slots(intent))} members are missing", wake_at=full_at)
    reason = f"{len(seated)} of {len(slots(intent))} members are ready"
    return _make(attempt, seating, source, restore, "Train", reason, history)


def _save(now: float, idle: Sequence[Member], state: State, history: History, reason: str) -> Decision:
    """A generation of those that hold the newest state, leaving ones too, to bring it into storage."""
    holders = [member for member in idle if usable(member, state.attempt) == state]
    last = history.generation
    if last is not None and last.purpose == "Save" and last.source.state == state:
        again_at = history.since + SAVE_AGAIN_SECONDS
        if now < again_at and all(seat.member in by_id(idle) for seat in last.seats):
            return Decision(reason=f"waiting for the commit of step {state.step}", wake_at=again_at)
    seating = dict(enumerate(holders))
    return _make(state.attempt, seating, Source(kind="Peer", rank=0, state=state), Restore(), "Save", reason, history)


def _make(
    attempt: int,
    seating: Seating,
    source: Source,
    restore: Restore,
    purpose: Literal["Train", "Save"],
    reason: str,
    history: History,
) -> Decision:
    generation = Generation(
        id=GenerationId(attempt, history.epoch, history.n + 1),
        seats=as_seats(seating),
        source=source,
        restore=restore,
        purpose=purpose,
        reason=reason,
    )
    return Decision(Action.PROPOSE, reason, generation)


def _unsaved(state: State, history: History) -> bool:
    """A state of step 0 is not worth a save: a cold start makes it again. A script's is always of step 0."""
    return state.step > (history.durable(state.attempt) or 0)


def _ranks(seating: Seating) -> list[Member]:
    return [seating[slot] for slot in sorted(seating)]
