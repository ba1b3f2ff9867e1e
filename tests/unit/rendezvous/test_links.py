"""Two workers that cannot reach each other, though the rendezvous hears both: who regroups, who stays out, for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rendezvous_builders import make_generation, make_history, make_intent, make_log, make_member, make_state
from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import Generation, Phase, Stage
from trainingjob_api.contract.stamps import MemberStamp
from trainingjob_rendezvous.quorum.decide import quorum
from trainingjob_rendezvous.quorum.history import Action, Decision
from trainingjob_rendezvous.quorum.links import (
    AGAIN_SECONDS,
    FIRST_APART_SECONDS,
    LONGEST_APART_SECONDS,
    TOGETHER_SECONDS,
    Cut,
    Pair,
    apart,
    formed_with,
    left_out,
    with_cut,
    words,
    words_of,
)
from trainingjob_rendezvous.quorum.members import AgentId, Member

GENERATION = make_generation([make_member(worker) for worker in range(3)])


def pair(one: int, other: int) -> Pair:
    return frozenset((AgentId(one, 0), AgentId(other, 0)))


def stamped(worker: int, phase: Phase = Phase.STEPPING, generation: Generation = GENERATION, **fields: Any) -> Member:
    """A member that waits in a collective of the generation."""
    stamp = MemberStamp(process=0, life=0, generation=generation.id, step=7, phase=phase, **({"entered": 3, "left": 2} | fields))
    return make_member(worker, phase, generation=None if phase is Phase.IDLE else generation.id, stamp=stamp)


def on_nodes(*nodes: str) -> Intent:
    intent = make_intent(len(nodes))
    return intent.model_copy(
        update={"workers": tuple(seat.model_copy(update={"node": node}) for seat, node in zip(intent.workers, nodes, strict=True))}
    )


def workers(decision: Decision) -> list[int]:
    assert decision.generation is not None
    return [seat.member.worker for seat in decision.generation.seats]


class TestARunningGeneration:
    history = make_history(GENERATION, Stage.RUNNING)

    def test_is_left_for_a_cut_pair(self) -> None:
        members = [stamped(0, cut_off=(2,)), stamped(1), stamped(2)]
        decision = quorum(5.0, members, make_intent(), self.history)
        assert (decision.action, decision.reason) == (Action.OVER, "workers 0 and 2 cannot reach each other")
        assert decision.cut == {pair(0, 2)}

    def test_goes_on_for_what_was_said_in_another_one(self) -> None:
        earlier = make_generation([make_member(worker) for worker in range(3)], n=0)
        members = [replace(stamped(0), stamp=stamped(0, generation=earlier, cut_off=(2,)).stamp), stamped(1), stamped(2)]
        assert quorum(5.0, members, make_intent(), self.history).action is Action.NOTHING

    def test_is_left_once_a_step_when_all_wait_and_no_byte_moves(self) -> None:
        members = [stamped(worker, quiet_seconds=3.0) for worker in range(3)]
        decision = quorum(5.0, members, make_intent(), self.history)
        assert (decision.action, decision.quiet) == (Action.OVER, (1, 7))
        again = quorum(5.0, members, make_intent(), replace(self.history, quiet=(1, 7)))
        assert again.action is Action.NOTHING, "it was no help at this step"

    @pytest.mark.parametrize(
        "other",
        [{"left": 3, "quiet_seconds": 0.0}, {"quiet_seconds": 1.0}, {"quiet_seconds": 60.0, "stopped": True}],
        ids=["who computes", "bytes flow", "who is stopped"],
    )
    def test_slow_is_not_hung(self, other: dict[str, Any]) -> None:
        members = [stamped(0, quiet_seconds=600.0), stamped(1, quiet_seconds=600.0), stamped(2, **other)]
        assert quorum(5.0, members, make_intent(), self.history).action is Action.NOTHING

    def test_takes_nobody_in_who_is_kept_apart_from_one_of_its_own(self) -> None:
        two = make_generation([make_member(worker) for worker in range(2)])
        members = [stamped(0, generation=two), stamped(1, generation=two), make_member(2)]
        history = make_history(two, Stage.RUNNING, cuts={pair(0, 2): Cut(at=0.0, until=30.0)})
        assert quorum(29.0, members, make_intent(), history).action is Action.NOTHING
        assert quorum(30.0, members, make_intent(), history).action is Action.REGROUP


class TestAFormingGeneration:
    history = make_history(GENERATION, Stage.PROPOSED, since=10.0)
    members = (stamped(0), stamped(1), stamped(2, Phase.IDLE, cut_off=(0,)))

    def test_has_its_patience_before_a_pair_counts_as_cut(self) -> None:
        decision = quorum(12.9, self.members, make_intent(), self.history)
        assert (decision.action, decision.wake_at) == (Action.NOTHING, 13.0)
        decision = quorum(13.0, self.members, make_intent(), self.history)
        assert (decision.action, decision.cut) == (Action.OVER, {pair(0, 2)})

    def test_has_none_for_a_pair_that_was_just_cut(self) -> None:
        history = replace(self.history, cuts={pair(0, 2): Cut(at=9.0)})
        assert quorum(11.6, self.members, make_intent(), history).action is Action.OVER


class TestTheNextGeneration:
    idle = tuple(make_member(worker, state=make_state(7)) for worker in range(3))

    def proposed(self, intent: Intent, *pairs: Pair, idle: tuple[Member, ...] = idle) -> Decision:
        history = make_history(GENERATION, cuts={each: Cut(at=0.0, until=30.0) for each in pairs})
        return quorum(5.0, idle, intent, history)

    def test_is_all_of_them_after_the_first_cut(self) -> None:
        history = make_history(GENERATION, cuts={pair(0, 2): Cut(at=4.0)})
        assert workers(quorum(5.0, self.idle, make_intent(), history)) == [0, 1, 2]

    def test_is_without_the_one_on_the_node_with_fewer_workers(self) -> None:
        assert workers(self.proposed(on_nodes("a", "b", "b"), pair(0, 2))) == [1, 2]
        assert workers(self.proposed(on_nodes("a", "a", "b"), pair(0, 2))) == [0, 1]

    def test_is_without_the_higher_number_where_nodes_do_not_tell(self) -> None:
        assert workers(self.proposed(make_intent(), pair(0, 2))) == [0, 1]

    def test_is_without_the_one_that_is_cut_from_several(self) -> None:
        assert workers(self.proposed(on_nodes("a", "a", "a"), pair(0, 1), pair(0, 2))) == [1, 2]

    def test_keeps_the_one_that_alone_holds_the_state(self) -> None:
        idle = (make_member(0), make_member(1, state=make_state(6)), make_member(2, state=make_state(7)))
        assert workers(self.proposed(on_nodes("a", "a", "b"), pair(0, 2), idle=idle)) == [1, 2]

    def test_waits_for_enough_workers(self) -> None:
        decision = self.proposed(make_intent(min_workers=3), pair(0, 2))
        assert decision.action is Action.PROPOSE
        assert decision.generation is not None
        assert decision.generation.purpose == "Save", "what is in memory is brought to storage, by those who can reach each other"
        assert workers(decision) == [0, 1]

    def test_tries_a_pair_again_that_the_job_cannot_train_without(self) -> None:
        idle = self.idle[:2]
        cuts = {pair(0, 1): Cut(at=10.0, until=610.0, times=6), pair(0, 2): Cut(at=12.0, until=42.0)}
        history = make_history(GENERATION, cuts=cuts, log=make_log(checkpoint=7))
        decision = quorum(11.0, idle, make_intent(2), history)
        assert (decision.action, decision.wake_at) == (Action.NOTHING, 10.0 + TOGETHER_SECONDS)
        decision = quorum(10.0 + TOGETHER_SECONDS, idle, make_intent(2), history)
        assert (decision.generation and decision.generation.purpose, workers(decision)) == ("Train", [0, 1])

    def test_tries_no_pair_again_without_which_there_are_enough(self) -> None:
        assert workers(quorum(500.0, self.idle, make_intent(), make_history(GENERATION, cuts={pair(0, 2): Cut(0.0, 600.0)}))) == [0, 1]

    def test_waits_where_the_pair_would_not_be_enough_either(self) -> None:
        history = make_history(GENERATION, cuts={pair(0, 1): Cut(0.0, 600.0)}, log=make_log(checkpoint=7))
        assert quorum(500.0, self.idle[:2], make_intent(min_workers=3), history).action is Action.NOTHING


class TestWhatIsRemembered:
    def test_a_pair_that_is_tried_before_its_time_is_not_kept_apart_longer(self) -> None:
        cuts = with_cut({}, [pair(0, 1)], 100.0, formed=False)
        for now in (108.0, 116.0, 124.0, 132.0):
            cuts = with_cut(cuts, [pair(0, 1)], now, formed=False)
            assert cuts[pair(0, 1)] == Cut(at=now, until=now + FIRST_APART_SECONDS, times=1)

    def test_who_has_formed_a_group_is_not_kept_apart_any_more(self) -> None:
        cuts = with_cut({}, [pair(0, 1), pair(0, 3)], 100.0, formed=False)
        assert apart(formed_with(cuts, GENERATION, 110.0), 110.0) == {pair(0, 3)}

    def test_a_first_cut_keeps_nobody_apart_and_a_second_soon_does(self) -> None:
        assert apart(with_cut({}, [pair(0, 2)], 1.0, formed=True), 1.0) == frozenset(), "the clock may just have begun"
        cuts = with_cut({}, [pair(0, 2)], 100.0, formed=True)
        assert apart(cuts, 100.0) == frozenset()
        assert apart(with_cut(cuts, [pair(0, 2)], 100.0 + AGAIN_SECONDS, formed=True), 160.0) == frozenset()
        assert apart(with_cut(cuts, [pair(0, 2)], 99.0 + AGAIN_SECONDS, formed=True), 159.0) == {pair(0, 2)}

    def test_who_cannot_form_a_group_is_kept_apart_longer_each_time(self) -> None:
        cuts, now, pauses = {}, 0.0, []
        for _ in range(8):
            cuts = with_cut(cuts, [pair(0, 2)], now, formed=False)
            until = cuts[pair(0, 2)].until
            pauses.append(until - now)
            now = until + 5.0
        assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]
        assert pauses[0] == FIRST_APART_SECONDS
        cuts = with_cut(cuts, [pair(0, 2)], now + 2 * LONGEST_APART_SECONDS, formed=False)
        assert cuts[pair(0, 2)].times == 1, "it was whole for long"

    def test_what_is_long_past_is_forgotten(self) -> None:
        cuts = with_cut({pair(0, 1): Cut(at=0.0, until=30.0)}, [pair(0, 2)], 10_000.0, formed=False)
        assert set(cuts) == {pair(0, 2)}


def test_no_pair_sits_together_and_nobody_stays_out_for_nothing() -> None:
    pods = [AgentId(worker, 0) for worker in range(6)]
    pairs = {pair(0, 1), pair(2, 3), pair(3, 4)}
    assert left_out(pairs, pods, make_intent(6)) == {AgentId(1, 0), AgentId(3, 0)}
    assert left_out(pairs, pods[:1], make_intent(6)) == frozenset()


def test_the_words() -> None:
    assert words([pair(0, 2)]) == "workers 0 and 2 cannot reach each other"
    assert words_of({pair(0, 2)}, {AgentId(2, 0)}) == "workers 0 and 2 cannot reach each other: worker 2 is left out"
    many = [pair(0, number) for number in range(1, 6)]
    assert words(many).endswith("workers 0 and 3 cannot reach each other and 2 pairs more")
    assert words_of([], []) == ""
