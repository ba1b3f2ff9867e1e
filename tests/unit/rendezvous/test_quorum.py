"""The rows of the decision: what the quorum says in each situation."""

from __future__ import annotations

import pytest

from rendezvous_builders import make_generation, make_history, make_intent, make_log, make_member, make_state, within
from trainingjob_api.contract.messages import (
    Generation,
    GenerationId,
    MemberId,
    Phase,
    Restore,
    Source,
    Stage,
    Stop,
)
from trainingjob_rendezvous.quorum.decide import BATCH_SECONDS, FORM_SECONDS, LEAVE_SECONDS, quorum
from trainingjob_rendezvous.quorum.history import Action, Decision

THREE = [make_member(worker) for worker in range(3)]


def slots(decision: Decision) -> list[int]:
    assert decision.generation is not None
    return [seat.slot for seat in decision.generation.seats]


def workers(decision: Decision) -> list[int]:
    assert decision.generation is not None
    return [seat.member.worker for seat in decision.generation.seats]


def running(count: int = 3, **changes: object) -> tuple[Generation, list]:
    members = [make_member(worker) for worker in range(count)]
    generation = make_generation(members, **changes)
    return generation, within(members, generation)


class TestFirstGeneration:
    def test_all_there_is_proposed_at_once(self) -> None:
        decision = quorum(5.0, THREE, make_intent(restore=Restore(kind="Step", step=4)), make_history())
        assert decision.action is Action.PROPOSE
        assert decision.generation is not None
        assert decision.generation.id == GenerationId(1, 1, 1)
        assert decision.generation.source.kind == "Storage"
        assert decision.generation.restore.step == 4
        assert slots(decision) == [0, 1, 2]

    def test_a_missing_worker_is_awaited_for_the_join_window(self) -> None:
        members = [make_member(0, since=1.0), make_member(1, since=3.0), make_member(2, Phase.STARTING)]
        decision = quorum(5.0, members, make_intent(), make_history())
        assert (decision.action, decision.wake_at) == (Action.NOTHING, 23.0)
        assert slots(quorum(23.0, members, make_intent(), make_history())) == [0, 1]

    def test_too_few_workers_are_awaited_for_ever(self) -> None:
        decision = quorum(1e6, THREE[:1], make_intent(), make_history())
        assert (decision.action, decision.wake_at) == (Action.NOTHING, None)

    def test_a_spare_fills_a_vacant_slot(self) -> None:
        members = [make_member(worker) for worker in (0, 2, 3)]
        decision = quorum(5.0, members, make_intent(spares=1), make_history())
        assert (slots(decision), workers(decision)) == ([0, 1, 2], [0, 3, 2])

    def test_a_spare_holds_no_rank_while_all_are_there(self) -> None:
        members = [make_member(worker) for worker in range(4)]
        assert workers(quorum(5.0, members, make_intent(spares=1), make_history())) == [0, 1, 2]

    def test_only_whole_workers_count(self) -> None:
        members = [make_member(0, process=0), make_member(0, process=1), make_member(1, process=0)]
        intent = make_intent(2, processes_per_worker=2)
        assert quorum(99.0, members, intent, make_history()).action is Action.NOTHING
        whole = quorum(99.0, [*members, make_member(1, process=1)], intent, make_history())
        assert slots(whole) == [0, 1, 2, 3]

    def test_an_unlisted_pod_gets_no_seat(self) -> None:
        members = [make_member(0), make_member(1), make_member(2, incarnation=5), make_member(7)]
        assert workers(quorum(99.0, members, make_intent(), make_history())) == [0, 1]

    def test_n_grows_above_all_that_was_heard(self) -> None:
        decision = quorum(5.0, THREE, make_intent(), make_history(n=41))
        assert decision.generation is not None
        assert decision.generation.id.n == 42


class TestForming:
    def test_runs_when_all_have_formed(self) -> None:
        generation = make_generation(THREE)
        history = make_history(generation, Stage.PROPOSED)
        formed = within(THREE, generation, Phase.FORMED)
        assert quorum(1.0, [*formed[:2], THREE[2]], make_intent(), history).action is Action.NOTHING
        assert quorum(1.0, formed, make_intent(), history).action is Action.RUN

    @pytest.mark.parametrize("lost", [0, 1, 2])
    def test_is_over_when_a_member_dies(self, lost: int) -> None:
        generation = make_generation(THREE)
        left = [member for member in THREE if member.id.worker != lost]
        decision = quorum(1.0, left, make_intent(), make_history(generation, Stage.PROPOSED))
        assert (decision.action, f"{lost}.0" in decision.reason) == (Action.OVER, True)

    def test_is_over_when_a_member_gives_up(self) -> None:
        generation = make_generation(THREE)
        members = [*within(THREE, generation, Phase.FORMED)[:2], make_member(2, left=generation.id)]
        assert quorum(1.0, members, make_intent(), make_history(generation, Stage.PROPOSED)).action is Action.OVER

    def test_is_over_when_it_takes_too_long(self) -> None:
        history = make_history(make_generation(THREE), Stage.PROPOSED, since=10.0)
        assert quorum(10.0 + FORM_SECONDS - 0.1, THREE, make_intent(), history).wake_at == 10.0 + FORM_SECONDS
        assert quorum(10.0 + FORM_SECONDS, THREE, make_intent(), history).action is Action.OVER

    @pytest.mark.parametrize("changes", [{"attempt": 2}, {"stop": Stop(request="s")}], ids=["rollback", "stop"])
    def test_is_over_when_it_is_not_wanted_any_more(self, changes: dict) -> None:
        history = make_history(make_generation(THREE), Stage.PROPOSED)
        assert quorum(1.0, THREE, make_intent(**changes), history).action is Action.OVER

    def test_a_newer_generation_that_is_heard_of_ends_it(self) -> None:
        history = make_history(make_generation(THREE), Stage.PROPOSED, heard=GenerationId(1, 1, 9), n=9)
        assert quorum(1.0, THREE, make_intent(), history).action is Action.OVER


class TestRunning:
    def test_goes_on(self) -> None:
        generation, members = running()
        assert quorum(9.0, members, make_intent(), make_history(generation, Stage.RUNNING)).action is Action.NOTHING

    def test_a_death_ends_it_at_once(self) -> None:
        generation, members = running()
        assert quorum(9.0, members[:2], make_intent(), make_history(generation, Stage.RUNNING)).action is Action.OVER

    def test_a_member_that_falls_out_ends_it_at_once(self) -> None:
        generation, members = running()
        members[1] = make_member(1, step=4)
        assert quorum(9.0, members, make_intent(), make_history(generation, Stage.RUNNING)).action is Action.OVER

    def test_members_that_were_asked_to_leave_may_do_so_one_after_another(self) -> None:
        generation, members = running()
        members[1] = make_member(1, step=4, since=8.0)
        history = make_history(generation, Stage.RUNNING, regroup=True)
        assert quorum(9.0, members, make_intent(), history).wake_at == 8.0 + LEAVE_SECONDS
        assert quorum(8.0 + LEAVE_SECONDS, members, make_intent(), history).action is Action.OVER

    def test_is_over_when_all_have_left(self) -> None:
        generation, _ = running()
        members = [make_member(worker, step=4) for worker in range(3)]
        history = make_history(generation, Stage.RUNNING, regroup=True)
        assert quorum(9.0, members, make_intent(), history).action is Action.OVER

    def test_an_idle_joiner_asks_a_regroup_once(self) -> None:
        generation, members = running(2)
        members.append(make_member(2, since=9.0))
        history = make_history(generation, Stage.RUNNING)
        assert quorum(9.0, members, make_intent(), history).action is Action.REGROUP
        asked = make_history(generation, Stage.RUNNING, regroup=True)
        assert quorum(9.0, members, make_intent(), asked).action is Action.NOTHING

    def test_joiners_are_batched(self) -> None:
        generation, members = running(2)
        members += [make_member(2, since=9.0), make_member(3, Phase.STARTING)]
        history = make_history(generation, Stage.RUNNING)
        assert quorum(9.5, members, make_intent(4), history).wake_at == 9.0 + BATCH_SECONDS
        assert quorum(9.0 + BATCH_SECONDS, members, make_intent(4), history).action is Action.REGROUP

    def test_a_second_spare_changes_nothing(self) -> None:
        members = [make_member(0), make_member(1), make_member(4)]
        seated = make_generation(members)
        seats = tuple(seat.model_copy(update={"slot": rank}) for rank, seat in enumerate(seated.seats))
        generation = seated.model_copy(update={"seats": seats})
        alive = [*within(members, generation), make_member(3)]
        history = make_history(generation, Stage.RUNNING)
        assert quorum(9.0, sorted(alive, key=lambda member: member.id), make_intent(spares=2), history).action is Action.NOTHING

    def test_the_real_worker_takes_its_slot_back_from_a_spare(self) -> None:
        members = [make_member(0), make_member(1), make_member(3)]
        seats = make_generation(members).seats
        generation = make_generation(members).model_copy(update={"seats": (*seats[:2], seats[2].model_copy(update={"slot": 2}))})
        alive = [*within(members[:2], generation), make_member(2), *within(members[2:], generation)]
        assert quorum(9.0, alive, make_intent(spares=1), make_history(generation, Stage.RUNNING)).action is Action.REGROUP
        idle = [make_member(worker, step=7) for worker in (0, 1, 3)]
        idle.insert(2, make_member(2))
        after = quorum(9.0, idle, make_intent(spares=1), make_history(generation, line=generation))
        assert workers(after) == [0, 1, 2]

    def test_a_leaving_agent_is_let_go(self) -> None:
        generation, members = running()
        members[2] = make_member(2, Phase.STEPPING, generation=generation.id, leaving=True)
        decision = quorum(9.0, members, make_intent(), make_history(generation, Stage.RUNNING))
        assert (decision.action, "2.0" in decision.reason) == (Action.REGROUP, True)

    def test_a_greater_attempt_asks_a_regroup_even_at_the_end(self) -> None:
        generation, _ = running()
        members = within(THREE, generation, Phase.FINISHING)
        assert quorum(9.0, members, make_intent(attempt=2), make_history(generation, Stage.RUNNING)).action is Action.REGROUP

    def test_nobody_joins_at_the_end(self) -> None:
        generation, _ = running(2)
        members = [*within(THREE[:2], generation, Phase.FINISHING), make_member(2)]
        assert quorum(9.0, members, make_intent(), make_history(generation, Stage.RUNNING)).action is Action.NOTHING

    def test_a_stop_comes_before_leaving_and_joining(self) -> None:
        generation, members = running(2)
        members.append(make_member(2))
        intent = make_intent(stop=Stop(request="s"))
        assert quorum(9.0, members, intent, make_history(generation, Stage.RUNNING)).action is Action.NOTHING

    def test_scaling_down_lets_the_last_workers_go(self) -> None:
        generation, members = running()
        assert quorum(9.0, members, make_intent(2), make_history(generation, Stage.RUNNING)).action is Action.REGROUP

    def test_a_refused_opening_ends_it(self) -> None:
        generation, members = running()
        history = make_history(generation, Stage.RUNNING, refused=generation.id)
        assert quorum(9.0, members, make_intent(), history).action is Action.OVER


class TestNextGeneration:
    def test_nobody_who_leaves_is_seated_to_train_alone(self) -> None:
        generation, _ = running()
        members = [make_member(worker, step=7, leaving=True) for worker in range(3)]
        intent = make_intent(min_workers=1)
        saves = quorum(9.0, members, intent, make_history(generation))
        assert saves.generation is not None
        assert saves.generation.purpose == "Save"
        saved = make_history(generation, log=make_log(checkpoint=7))
        assert quorum(9.0, members, intent, saved).action is Action.NOTHING

    def test_a_leaving_holder_of_the_state_is_seated_beside_those_who_copy_it(self) -> None:
        generation, _ = running()
        members = [make_member(0, step=7, leaving=True), make_member(1), make_member(2)]
        decision = quorum(9.0, members, make_intent(min_workers=1), make_history(generation))
        assert decision.generation is not None
        assert decision.generation.seats[decision.generation.source.rank].member.worker == 0
        assert len(decision.generation.seats) == 3

    def test_is_proposed_at_once_among_the_survivors(self) -> None:
        generation, _ = running()
        members = [make_member(0, step=7), make_member(2, step=7)]
        decision = quorum(9.0, members, make_intent(), make_history(generation, line=generation, since=9.0))
        assert (decision.action, slots(decision)) == (Action.PROPOSE, [0, 2])
        assert decision.generation is not None
        assert decision.generation.id == GenerationId(1, 1, 2)
        assert decision.generation.source == Source(kind="Peer", rank=0, state=make_state(7))

    def test_waits_for_members_that_are_still_in_the_last_one(self) -> None:
        generation, members = running()
        left = [make_member(0, step=7), members[1]]
        assert quorum(99.0, left, make_intent(), make_history(generation)).action is Action.NOTHING

    def test_takes_the_newest_state_and_not_the_lowest_rank(self) -> None:
        generation, _ = running()
        members = [make_member(0, step=6), make_member(1), make_member(2, step=7)]
        decision = quorum(9.0, members, make_intent(), make_history(generation, line=generation))
        assert decision.generation is not None
        assert (decision.generation.source.rank, decision.generation.source.state) == (2, make_state(7))

    def test_takes_the_state_of_the_majority(self) -> None:
        generation, _ = running()
        digests = ["x", "y", "y"]
        members = [make_member(rank, state=make_state(7, digest=digest)) for rank, digest in enumerate(digests)]
        decision = quorum(9.0, members, make_intent(), make_history(generation, line=generation))
        assert decision.generation is not None
        assert decision.generation.source == Source(kind="Peer", rank=1, state=make_state(7, digest="y"))

    def test_ignores_the_state_of_another_attempt(self) -> None:
        generation, _ = running()
        members = [make_member(worker, state=make_state(70, attempt=1)) for worker in range(3)]
        decision = quorum(9.0, members, make_intent(attempt=2), make_history(generation, line=generation))
        assert decision.generation is not None
        assert (decision.generation.id.attempt, decision.generation.source.kind) == (2, "Storage")

    def test_the_only_holder_is_seated_even_if_it_is_a_spare(self) -> None:
        members = [make_member(0, life=1), make_member(1, life=1), make_member(2, step=7)]
        line = make_generation([make_member(0), make_member(2)])
        decision = quorum(9.0, members, make_intent(2, spares=1), make_history(line, line=line))
        assert (workers(decision), decision.generation and decision.generation.source.rank) == ([0, 2], 1)

    def test_what_a_spare_held_before_the_last_generation_is_worth_nothing(self) -> None:
        line = make_generation([make_member(0), make_member(1)], source=Source(kind="Peer", state=make_state(7)))
        members = [make_member(2, step=7)]
        decision = quorum(99.0, members, make_intent(2, spares=1, min_workers=1), make_history(line, line=line))
        assert (decision.action, decision.state_lost) == (Action.NOTHING, True)

    def test_state_is_lost_when_nobody_holds_it_any_more(self) -> None:
        generation, _ = running()
        members = [make_member(worker, life=1) for worker in range(3)]
        history = make_history(generation, line=generation, since=10.0, patience=3.0)
        early = quorum(12.0, members, make_intent(), history)
        assert (early.state_lost, early.wake_at) == (False, 13.0)
        assert quorum(13.0, members, make_intent(), history).state_lost
        assert quorum(13.0, members, make_intent(attempt=2), history).action is Action.PROPOSE

    def test_an_attempt_that_was_never_opened_starts_from_storage_again(self) -> None:
        generation, _ = running()
        members = [make_member(0), make_member(1)]
        decision = quorum(9.0, members, make_intent(), make_history(generation, held=0))
        assert decision.generation is not None
        assert decision.generation.source.kind == "Storage"

    def test_an_attempt_that_only_agents_know_of_waits_for_the_operators_word(self) -> None:
        assert quorum(99.0, THREE, make_intent(), make_history(attempt=2)).action is Action.NOTHING


class TestTooFew:
    def test_newer_state_is_saved_once(self) -> None:
        generation, _ = running()
        members = [make_member(1, step=7)]
        decision = quorum(9.0, members, make_intent(), make_history(generation, line=generation, log=make_log(5)))
        assert decision.generation is not None
        assert (decision.generation.purpose, workers(decision)) == ("Save", [1])
        assert decision.generation.source.state == make_state(7)
        saved = make_history(decision.generation, line=generation, log=make_log(7))
        waiting = quorum(9.0, members, make_intent(), saved)
        assert (waiting.action, waiting.state_lost) == (Action.NOTHING, False)

    def test_a_save_is_not_repeated_while_its_commit_may_come(self) -> None:
        members = [make_member(1, step=7)]
        last = make_generation(members, purpose="Save", source=Source(kind="Peer", state=make_state(7)))
        history = make_history(last, since=9.0)
        assert quorum(10.0, members, make_intent(), history).action is Action.NOTHING
        assert quorum(19.0, members, make_intent(), history).action is Action.PROPOSE


class TestStop:
    STOP = make_intent(stop=Stop(request="s"))

    def test_done_when_nobody_runs_and_all_is_saved(self) -> None:
        generation, _ = running()
        members = [make_member(worker, step=7) for worker in range(3)]
        decision = quorum(9.0, members, self.STOP, make_history(generation, line=generation, log=make_log(7)))
        assert (decision.done, decision.stopped) == (True, True)

    def test_unsaved_state_is_saved_first(self) -> None:
        generation, _ = running()
        members = [make_member(1, step=7), make_member(2, step=6)]
        decision = quorum(9.0, members, self.STOP, make_history(generation, line=generation, log=make_log(5)))
        assert decision.generation is not None
        assert (decision.generation.purpose, workers(decision), decision.done) == ("Save", [1], False)

    def test_unsaved_state_is_dropped_if_the_stop_says_so(self) -> None:
        generation, _ = running()
        members = [make_member(1, step=7)]
        intent = make_intent(stop=Stop(request="s", save=False))
        assert quorum(9.0, members, intent, make_history(generation, line=generation)).done

    def test_done_at_once_if_nothing_ever_ran(self) -> None:
        assert quorum(9.0, [make_member(0, Phase.STARTING)], self.STOP, make_history()).done

    @pytest.mark.parametrize(
        ("source", "phase", "ends"),
        [("Storage", Phase.RESTORING, True), ("Storage", Phase.STEPPING, False), ("Peer", Phase.RESTORING, False)],
        ids=["storage-has-given-no-state", "it-trains", "a-peer-has-the-state"],
    )
    def test_a_stop_does_not_wait_for_storage_that_has_given_no_state_to_save(self, source: str, phase: Phase, ends: bool) -> None:
        kind = Source(kind="Storage") if source == "Storage" else Source(kind="Peer", state=make_state(3))
        generation, members = running(source=kind)
        stands = within(members, generation, phase)
        history = make_history(generation, Stage.RUNNING)
        decision = quorum(9.0, stands, self.STOP, history)
        assert (decision.action is Action.OVER) is ends
        if ends:
            idle = [make_member(worker) for worker in range(3)]
            assert quorum(9.0, idle, self.STOP, make_history(generation)).done

    def test_not_done_while_somebody_runs(self) -> None:
        generation, members = running()
        assert not quorum(9.0, members, self.STOP, make_history(generation, Stage.RUNNING)).done


class TestEnds:
    def test_done_is_what_the_log_says(self) -> None:
        generation, members = running()
        history = make_history(generation, Stage.RUNNING, log=make_log(7, done=True))
        assert quorum(9.0, members, make_intent(), history).done
        assert not quorum(9.0, members, make_intent(attempt=2), history).done

    def test_a_failed_job_makes_no_generation(self) -> None:
        assert quorum(9.0, THREE, make_intent(failed="spent"), make_history()).action is Action.NOTHING


def test_a_member_is_named_by_worker_incarnation_process_and_life() -> None:
    assert MemberId(1, 0, 0, 2).label() == "1.0/0.2"
