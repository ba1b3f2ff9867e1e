"""Members, intents and histories with valid defaults, for tests of the rendezvous' decisions."""

from __future__ import annotations

from typing import Any

from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.messages import Generation, GenerationId, LogPosition, MemberId, Phase, Seat, Source, Stage, State
from trainingjob_rendezvous.quorum.history import History
from trainingjob_rendezvous.quorum.members import Member


def make_state(step: int, attempt: int = 1, digest: str = "d") -> State:
    return State(attempt=attempt, step=step, digest=digest)


def make_member(worker: int, phase: Phase = Phase.IDLE, **changes: Any) -> Member:
    """`step`: it holds that step of attempt 1. `process`, `incarnation`, `life`: who it is."""
    who = MemberId(worker, changes.pop("incarnation", 0), changes.pop("process", 0), changes.pop("life", 0))
    step = changes.pop("step", None)
    if step is not None:
        changes["state"] = make_state(step)
    fields: dict[str, Any] = {"since": 0.0, **changes}
    return Member(id=who, address=f"10.0.0.{worker}", phase=phase, **fields)


def make_intent(replicas: int = 3, spares: int = 0, **changes: Any) -> Intent:
    seats = tuple(WorkerSeat(worker=worker, incarnation=0) for worker in range(replicas + spares))
    fields: dict[str, Any] = {"epoch": 1, "attempt": 1, "workers": seats, "replicas": replicas, "min_workers": 2}
    return Intent(**{**fields, **changes})


def make_generation(members: list[Member], n: int = 1, **changes: Any) -> Generation:
    """A generation of attempt 1 whose seats are the members, in slots of one process a worker."""
    seats = tuple(Seat(member=member.id, slot=member.id.worker, address=member.address) for member in members)
    fields: dict[str, Any] = {"id": GenerationId(1, 1, n), "seats": seats, "source": Source(kind="Storage"), "reason": "r"}
    return Generation(**{**fields, **changes})


def make_history(generation: Generation | None = None, stage: Stage = Stage.OVER, **changes: Any) -> History:
    """A settled rendezvous of epoch 1 that began at time 0."""
    n = generation.id.n if generation is not None else 0
    fields: dict[str, Any] = {"epoch": 1, "settled": True, "generation": generation, "stage": stage, "n": n, "held": 1 if n else 0}
    return History(**{**fields, **changes})


def make_log(checkpoint: int | None = None, attempt: int = 1, **changes: Any) -> LogPosition:
    return LogPosition(seq=1, attempt=attempt, epoch=1, checkpoint=checkpoint, **changes)


def within(members: list[Member], generation: Generation, phase: Phase = Phase.STEPPING) -> list[Member]:
    """The same members, in the generation."""
    return [make_member(member.id.worker, phase, generation=generation.id, life=member.id.life) for member in members]
