"""The decision: who is in the generation, and when it is proposed, runs, is left and is over. Pure and total.

`quorum` looks at the members, the intent and what happened before, and says one thing to do; it is asked again until it says
nothing. It keeps no state of its own, and reads no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import Generation, Phase, Stage
from trainingjob_rendezvous.quorum.adoption import adoptable, newest_claimed
from trainingjob_rendezvous.quorum.history import Action, Decision, History
from trainingjob_rendezvous.quorum.links import apart, cut_pairs, is_recent, left_out, quiet_seconds, words
from trainingjob_rendezvous.quorum.members import AgentId, Member, by_id
from trainingjob_rendezvous.quorum.proposal import propose
from trainingjob_rendezvous.quorum.seats import Seating, seat, wanted

FORM_SECONDS = 30.0
"""A generation that is not formed by then is over."""
LEAVE_SECONDS = 5.0
"""How long the members of a generation may take, one after another, to leave it when they were asked to."""
SAVE_LEAVE_SECONDS = 60.0
"""The same for a generation that only saves: a member is Idle once its own shard is on its way."""
BATCH_SECONDS = 1.0
"""How long a joiner waits for others that are starting, so that they come in by one regroup."""


def quorum(now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    """What to do next.

    Args:
        now: seconds, on the clock of the members' and the history's times.
        members: everybody connected, ordered by id.
        intent: what the operator wants.
        history: what this rendezvous remembers.
    """
    if intent.failed is not None:
        return Decision(reason=intent.failed)
    if history.log is not None and history.log.done and history.log.attempt >= max(intent.attempt, history.attempt):
        return Decision(done=True, reason="the job is done")
    if not history.settled:
        return _settle(now, members, intent, history)
    generation = history.generation
    if generation is None or history.stage is Stage.OVER:
        return propose(now, members, intent, history)
    broken = _broken(generation, members, history)
    if broken is not None:
        return Decision(Action.OVER, broken)
    follow = _forming if history.stage is Stage.PROPOSED else _running
    return follow(generation, now, members, intent, history)


def _settle(now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    """After a restart: take over what runs, or wait out the grace and end it."""
    generation = adoptable(history.claims, members)
    if generation is not None:
        return Decision(Action.ADOPT, "all its members go on with it", generation)
    if _all_are_new(intent, history):
        return Decision(Action.OVER, "nobody knows of a generation")
    if now < history.grace_until:
        return Decision(reason="waiting for agents that know of a running generation", wake_at=history.grace_until)
    return Decision(Action.OVER, "not all members of the last generation came back", newest_claimed(history.claims))


def _all_are_new(intent: Intent, history: History) -> bool:
    """Every pod that may train is here, and knows of no generation: it is no restart, and there is nobody to wait for."""
    known = newest_claimed(history.claims) is not None or history.heard is not None
    if known or history.held > 0 or (history.log is not None and history.log.attempt > 0) or not intent.workers:
        return False
    return all(AgentId(seat.worker, seat.incarnation) in history.claims for seat in intent.workers)


def _broken(generation: Generation, members: Sequence[Member], history: History) -> str | None:
    """Why the newest generation cannot go on, or None."""
    if history.heard is not None and history.heard > generation.id:
        return f"a newer generation, {history.heard.label()}, is known"
    if history.refused == generation.id:
        return f"attempt {generation.id.attempt} was opened before"
    present = by_id(members)
    lost = [seat.member.label() for seat in generation.seats if seat.member not in present]
    return f"lost {', '.join(lost)}" if lost else None


def _forming(generation: Generation, now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    present = by_id(members)
    seated = [present[seat.member] for seat in generation.seats]
    if max(intent.attempt, history.attempt) > generation.id.attempt:
        return Decision(Action.OVER, f"attempt {max(intent.attempt, history.attempt)} is wanted")
    if intent.stop is not None and generation.purpose == "Train":
        return Decision(Action.OVER, "the job is to stop")
    if all(member.within(generation.id) for member in seated):
        return Decision(Action.RUN, generation.reason)
    cut = cut_pairs(generation, seated)
    proof_at = history.since + history.patience
    if cut and (now >= proof_at or is_recent(history.cuts, cut, now)):
        return Decision(Action.OVER, words(cut), cut=cut)
    gave_up = [member.id.label() for member in seated if member.left == generation.id]
    if gave_up:
        return Decision(Action.OVER, f"{', '.join(gave_up)} could not form it")
    deadline = history.since + FORM_SECONDS
    if now >= deadline:
        late = [member.id.label() for member in seated if not member.within(generation.id)]
        return Decision(Action.OVER, f"not formed within {FORM_SECONDS:.0f} s by {', '.join(late)}")
    return Decision(reason=generation.reason, wake_at=min(deadline, proof_at) if cut else deadline)


def _running(generation: Generation, now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    present = by_id(members)
    seated = [present[seat.member] for seat in generation.seats]
    out = [member for member in seated if not member.within(generation.id)]
    if len(out) == len(seated):
        return Decision(Action.OVER, "all members have left it")
    if cut := cut_pairs(generation, seated):
        return Decision(Action.OVER, words(cut), cut=cut)
    if (quiet := _quiet(generation, seated, history)) is not None:
        return Decision(Action.OVER, "all ranks wait for each other, and no byte moves between them", quiet=quiet)
    if out:
        return _left_by_some(generation, now, out, intent, history)
    if intent.stop is not None and generation.source.kind == "Storage" and all(member.phase is Phase.RESTORING for member in seated):
        return Decision(Action.OVER, "the job is to stop, and storage has not given a state yet")
    if history.regroup:
        return Decision(reason=generation.reason)
    return _planned(generation, now, members, seated, intent, history)


def _quiet(generation: Generation, seated: Sequence[Member], history: History) -> tuple[int, int] | None:
    """(attempt, step) at which nothing moves any more; None if something does, or if that was no help at this step before."""
    if quiet_seconds(generation, seated) < history.patience:
        return None
    steps = [member.stamp.step for member in seated if member.stamp is not None and member.stamp.step is not None]
    at = (generation.id.attempt, min(steps, default=0))
    return at if at != history.quiet else None


def _left_by_some(generation: Generation, now: float, out: Sequence[Member], intent: Intent, history: History) -> Decision:
    """Some members have left. When that was asked for the others follow; else their group is broken."""
    saving = generation.purpose == "Save"
    if not saving and not history.regroup and intent.stop is None:
        return Decision(Action.OVER, f"{', '.join(member.id.label() for member in out)} fell out of it")
    first = min(member.since for member in out)
    deadline = first + (SAVE_LEAVE_SECONDS if saving else LEAVE_SECONDS)
    if now >= deadline:
        return Decision(Action.OVER, "not all members left it in time")
    return Decision(reason=generation.reason, wake_at=deadline)


def _planned(
    generation: Generation, now: float, members: Sequence[Member], seated: Sequence[Member], intent: Intent, history: History
) -> Decision:
    """A change of membership that can wait for a step boundary. Precedence: rollback, stop, leave, save, join."""
    attempt = max(intent.attempt, history.attempt)
    if attempt > generation.id.attempt:
        return Decision(Action.REGROUP, f"attempt {attempt} is wanted")
    if intent.stop is not None or generation.purpose == "Save":
        return Decision(reason=generation.reason)
    stay = by_id(wanted(seated, intent))
    unwanted = [member.id.label() for member in seated if member.id not in stay]
    if unwanted:
        return Decision(Action.REGROUP, f"{', '.join(unwanted)} is to leave")
    if any(member.phase is Phase.FINISHING for member in seated):
        return Decision(reason=generation.reason)
    return _joins(generation, now, members, intent, history)


def _joins(generation: Generation, now: float, members: Sequence[Member], intent: Intent, history: History) -> Decision:
    """Let idle members in that should hold a rank, several at once if more are starting."""
    incumbents = {seat.member: seat.slot for seat in generation.seats}
    candidates = [member for member in wanted(members, intent) if member.id in incumbents or member.idle()]
    seated = {member.agent for member in candidates if member.id in incumbents}
    out = left_out(apart(history.cuts, now), {member.agent for member in candidates}, intent, keep=seated)
    candidates = [member for member in candidates if member.agent not in out]
    seating = seat(candidates, intent, incumbents)
    joiners = [member for member in seating.values() if member.id not in incumbents]
    if not joiners and len(seating) == len(incumbents):
        return Decision(reason=generation.reason)
    ready_at = max((member.since for member in joiners), default=now) + BATCH_SECONDS
    if joiners and now < ready_at and _more_are_starting(members, seating, intent):
        return Decision(reason=generation.reason, wake_at=ready_at)
    names = ", ".join(member.id.label() for member in joiners) or "another order"
    return Decision(Action.REGROUP, f"{names} may join")


def _more_are_starting(members: Sequence[Member], seating: Seating, intent: Intent) -> bool:
    seated = {member.id for member in seating.values()}
    return any(member.phase is Phase.STARTING and member.id not in seated for member in wanted(members, intent))
