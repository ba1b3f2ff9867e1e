"""Scripts at the rendezvous: one that waits to be started again has lost nothing, and whoever ended before a failure is named in it."""

from __future__ import annotations

import pytest

from rendezvous_builders import make_generation, make_history, make_intent, make_member, within
from trainingjob_api.contract.messages import (
    SCRIPT,
    Failure,
    FailureCause,
    Hello,
    MemberId,
    MemberReport,
    Phase,
    State,
    Stop,
)
from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_rendezvous.failures import Failures, with_leavers
from trainingjob_rendezvous.quorum.decide import quorum
from trainingjob_rendezvous.quorum.history import Action
from trainingjob_rendezvous.quorum.members import AgentId, Member, Members

STATE = State(attempt=1, step=0, digest=SCRIPT)
OLD = make_generation([make_member(0), make_member(1)])
LATER = 60.0


def script(worker: int, phase: Phase, life: int = 0) -> Member:
    return make_member(worker, phase, life=life, state=STATE)


def test_a_lone_script_that_waits_to_be_started_again_has_not_lost_its_attempt() -> None:
    generation = make_generation([make_member(0)])
    history = make_history(generation, line=generation)
    intent = make_intent(1, min_workers=1)
    waiting = quorum(LATER, [script(0, Phase.STARTING, life=1)], intent, history)
    assert (waiting.action, waiting.state_lost, "starts again" in waiting.reason) == (Action.NOTHING, False, True)
    again = quorum(LATER, [script(0, Phase.IDLE, life=1)], intent, history)
    assert again.generation is not None
    assert (again.action, again.generation.id.attempt, again.generation.source.kind) == (Action.PROPOSE, 1, "Peer")


def test_a_process_that_starts_with_nothing_is_no_reason_to_wait() -> None:
    generation = make_generation([make_member(0)])
    history = make_history(generation, line=generation)
    assert quorum(LATER, [make_member(0, Phase.STARTING, life=1)], make_intent(1, min_workers=1), history).state_lost


def test_the_others_wait_for_a_script_only_if_they_are_too_few() -> None:
    members = [script(0, Phase.STARTING, life=1), script(1, Phase.IDLE)]
    history = make_history(OLD, line=OLD)
    assert quorum(LATER, members, make_intent(2, min_workers=2), history).action is Action.NOTHING
    assert quorum(LATER, members, make_intent(2, min_workers=1), history).action is Action.PROPOSE


def test_a_stop_does_not_wait_for_the_pause() -> None:
    decision = quorum(
        0.0, [script(0, Phase.STARTING, life=1)], make_intent(1, min_workers=1, stop=Stop(request="s")), make_history(OLD, line=OLD)
    )
    assert decision.stopped


def test_the_state_of_a_waiting_script_is_heard_with_its_report() -> None:
    members = Members()
    agent = members.connect(0.0, Hello(contract=CONTRACT_VERSION, build="b", worker=0, incarnation=0, address="a"))
    members.report(1.0, agent, MemberReport(member=MemberId(0, 0, 0, 1), phase=Phase.STARTING, state=STATE))
    assert agent == AgentId(0, 0)
    assert [member.state for member in members.snapshot()] == [STATE]


def failure(step: int | None = None, phase: Phase = Phase.STEPPING, message: str = "Connection closed by peer") -> Failure:
    return Failure(member=MemberId(1, 0, 0, 0), cause=FailureCause.CRASH, message=message, step=step, phase=phase, generation=OLD.id)


class TestWhoLeftEarly:
    finished = within([make_member(0)], OLD, Phase.FINISHING)

    def test_a_worker_whose_script_had_ended_with_0_is_named_in_the_failure_of_another(self) -> None:
        assert with_leavers(failure(), self.finished).message == "after worker 0 had ended with 0: Connection closed by peer"

    def test_however_long_the_failure_is(self) -> None:
        told = with_leavers(failure(message="x" * 1024), self.finished).message
        assert (len(told), told.startswith("after worker 0 had ended with 0: x")) == (1024, True)

    def test_many_are_counted_off(self) -> None:
        many = within([make_member(worker) for worker in range(2, 20)], OLD, Phase.FINISHING)
        assert with_leavers(failure(), many).message.startswith("after workers 2, 3, 4, 5 and 14 more had ended with 0: ")

    @pytest.mark.parametrize(
        ("failed", "members"),
        [
            (failure(), within([make_member(0)], OLD, Phase.STEPPING)),
            (failure(), within([make_member(0)], make_generation([make_member(0)], n=9), Phase.FINISHING)),
            (failure(step=7), within([make_member(0)], OLD, Phase.FINISHING)),
            (failure(phase=Phase.RESTORING), within([make_member(0)], OLD, Phase.FINISHING)),
        ],
        ids=["still running", "another generation", "a Task's process", "not yet begun"],
    )
    def test_nobody_else_is(self, failed: Failure, members: list[Member]) -> None:
        assert with_leavers(failed, members) == failed

    def test_the_name_stays_in_the_account(self) -> None:
        failures = Failures()
        failures.add(with_leavers(failure(), self.finished))
        assert failures.newest()[0].message.startswith("after worker 0 had ended with 0")
