"""What the decision never does, and always does, whatever it sees."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous_builders import make_history, make_intent, make_member
from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.messages import (
    Generation,
    GenerationId,
    LogPosition,
    MemberId,
    Phase,
    Seat,
    Source,
    Stage,
    State,
    Stop,
)
from trainingjob_rendezvous.quorum.decide import quorum
from trainingjob_rendezvous.quorum.history import Action, History
from trainingjob_rendezvous.quorum.members import Member
from trainingjob_rendezvous.quorum.source import without_stale

SMALL = st.integers(0, 3)
TIMES = st.floats(0, 100)
IDS = st.builds(GenerationId, SMALL, SMALL, SMALL)
STATES = st.builds(State, attempt=SMALL, step=SMALL, digest=st.sampled_from("xy"))
MEMBER_IDS = st.builds(MemberId, st.integers(0, 5), st.integers(0, 1), st.integers(0, 2), st.integers(0, 1))
MEMBERS = st.lists(
    st.builds(
        Member,
        id=MEMBER_IDS,
        address=st.just("a"),
        phase=st.sampled_from([phase for phase in Phase if phase is not Phase.GONE]),
        since=TIMES,
        generation=st.none() | IDS,
        state=st.none() | STATES,
        leaving=st.booleans(),
        left=st.none() | IDS,
    ),
    max_size=8,
    unique_by=lambda member: member.id,
).map(lambda members: tuple(sorted(members, key=lambda member: member.id)))
GENERATIONS = st.builds(
    Generation,
    id=IDS,
    seats=st.lists(MEMBER_IDS, max_size=4, unique=True).map(
        lambda ids: tuple(Seat(member=member, slot=slot, address="a") for slot, member in enumerate(ids))
    ),
    source=st.builds(Source, kind=st.sampled_from(["Peer", "Storage"]), state=st.none() | STATES),
    purpose=st.sampled_from(["Train", "Save"]),
)
INTENTS = st.builds(
    Intent,
    epoch=SMALL,
    attempt=SMALL,
    workers=st.lists(st.builds(WorkerSeat, worker=st.integers(0, 5), incarnation=st.integers(0, 1)), max_size=6).map(tuple),
    replicas=st.integers(-1, 4),
    min_workers=st.integers(-1, 4),
    processes_per_worker=st.integers(-1, 2),
    stop=st.none() | st.builds(Stop, request=st.just("s"), save=st.booleans()),
    failed=st.none() | st.just("spent"),
)
LOGS = st.builds(LogPosition, seq=SMALL, attempt=SMALL, checkpoint=st.none() | SMALL, done=st.booleans())
HISTORIES = st.builds(
    History,
    epoch=SMALL,
    grace_until=TIMES,
    settled=st.booleans(),
    n=SMALL,
    attempt=SMALL,
    heard=st.none() | IDS,
    generation=st.none() | GENERATIONS,
    stage=st.sampled_from(Stage),
    since=TIMES,
    regroup=st.booleans(),
    log=st.none() | LOGS,
    held=SMALL,
    line=st.none() | GENERATIONS,
    refused=st.none() | IDS,
)


@settings(max_examples=400, deadline=None)
@given(TIMES, MEMBERS, INTENTS, HISTORIES)
def test_it_is_total_and_what_it_proposes_is_sound(now: float, members: tuple[Member, ...], intent: Intent, history: History) -> None:
    decision = quorum(now, members, intent, history)
    assert quorum(now, members, intent, history) == decision
    if decision.action is not Action.PROPOSE:
        return
    generation = decision.generation
    assert generation is not None
    assert history.stage is Stage.OVER or history.generation is None, "only one generation at a time"
    assert generation.id.n == history.n + 1
    assert generation.id.epoch == history.epoch
    assert generation.id.attempt == max(intent.attempt, history.attempt)
    assert generation.seats, "nobody is no generation"
    assert len({seat.slot for seat in generation.seats}) == len({seat.member for seat in generation.seats}) == len(generation.seats)
    assert [seat.slot for seat in generation.seats] == sorted(seat.slot for seat in generation.seats)
    idle = {member.id: member for member in members if member.phase is Phase.IDLE}
    assert {seat.member for seat in generation.seats} <= set(idle)
    assert not any(history.generation and member.within(history.generation.id) for member in members)
    assert intent.stop is None or generation.purpose == "Save"
    check_source(generation, list(idle.values()), history)


def check_source(generation: Generation, idle: list[Member], history: History) -> None:
    attempt = generation.id.attempt
    fresh = without_stale(idle, history.floor(attempt), history.line_of(attempt))
    states = [member.state for member in fresh if member.state is not None and member.state.attempt == attempt]
    if generation.source.kind == "Storage":
        assert not states, "what is in memory is never given up"
        assert not history.opened(attempt), "an attempt is opened once"
        return
    state = generation.source.state
    assert state is not None
    assert state.step == max(known.step for known in states), "the source holds the newest state"
    holder = next(member for member in fresh if member.id == generation.seats[generation.source.rank].member)
    assert holder.state == state


@settings(max_examples=200, deadline=None)
@given(
    replicas=st.integers(1, 4),
    processes=st.integers(1, 2),
    minimum=st.integers(1, 4),
    missing=st.integers(0, 3),
    steps=st.lists(st.none() | SMALL, min_size=8, max_size=8),
    began=st.booleans(),
)
def test_enough_idle_members_and_time_make_a_generation(
    replicas: int, processes: int, minimum: int, missing: int, steps: list[int | None], began: bool
) -> None:
    minimum = min(minimum, replicas)
    present = max(minimum, replicas - missing)
    intent = make_intent(replicas, min_workers=minimum, processes_per_worker=processes)
    members = [
        make_member(worker, process=process, step=steps[worker * processes + process] if began else None)
        for worker in range(present)
        for process in range(processes)
    ]
    opened = any(member.state is not None for member in members)
    decision = quorum(1e6, members, intent, make_history(held=int(opened)))
    assert decision.action is Action.PROPOSE
    assert decision.generation is not None
    assert len(decision.generation.seats) == present * processes


@settings(max_examples=200, deadline=None)
@given(TIMES, MEMBERS, INTENTS, HISTORIES)
def test_a_running_generation_ends_only_with_a_reason(now: float, members: tuple[Member, ...], intent: Intent, history: History) -> None:
    generation = history.generation
    if generation is None or not generation.seats or history.stage is not Stage.RUNNING or not history.settled:
        return
    present = {member.id: member for member in members}
    whole = all(seat.member in present and present[seat.member].within(generation.id) for seat in generation.seats)
    newer = history.heard is not None and history.heard > generation.id
    if whole and not newer and history.refused != generation.id:
        assert quorum(now, members, intent, history).action in (Action.NOTHING, Action.REGROUP)
