"""The rows of the decision for a rendezvous that has just started: what runs is adopted, or over; where all is new nobody waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rendezvous_builders import make_generation, make_history, make_intent, make_log, make_member, within
from trainingjob_api.contract.messages import Generation, GenerationId, Orders, Stage
from trainingjob_rendezvous.quorum.decide import quorum
from trainingjob_rendezvous.quorum.history import Action, Decision
from trainingjob_rendezvous.quorum.members import Member

THREE = [make_member(worker) for worker in range(3)]


def running() -> tuple[Generation, list[Member]]:
    generation = make_generation(THREE)
    return generation, within(THREE, generation)


def claims(generation: Generation, stages: list[Stage]) -> dict:
    return {make_member(worker).agent: Orders(epoch=1, generation=generation, stage=stage) for worker, stage in enumerate(stages)}


def test_nothing_is_proposed_during_the_grace() -> None:
    history = make_history(settled=False, grace_until=3.0)
    assert quorum(1.0, THREE, make_intent(), history) == Decision(
        reason="waiting for agents that know of a running generation", wake_at=3.0
    )
    assert quorum(3.0, THREE, make_intent(), history).action is Action.OVER


def test_where_every_pod_is_there_and_new_there_is_nobody_to_wait_for() -> None:
    new = {member.agent: Orders(epoch=1, generation=None, stage=Stage.OVER) for member in THREE} | {THREE[0].agent: None}
    history = make_history(settled=False, grace_until=3.0, claims=new)
    assert quorum(0.1, THREE, make_intent(), history) == Decision(Action.OVER, "nobody knows of a generation")
    older = GenerationId(1, 1, 4)
    for known in ({"heard": older}, {"held": 1}, {"log": make_log(7)}):
        assert quorum(0.1, THREE, make_intent(), replace(history, **known)).action is Action.NOTHING
    some = replace(history, claims={THREE[0].agent: None, THREE[1].agent: None})
    assert quorum(0.1, THREE, make_intent(), some).action is Action.NOTHING


@pytest.mark.parametrize("stages", [[Stage.RUNNING] * 3, [Stage.PROPOSED, Stage.RUNNING, Stage.PROPOSED]], ids=["all", "one"])
def test_a_running_generation_is_adopted_when_all_name_it(stages: list[Stage]) -> None:
    generation, members = running()
    history = make_history(settled=False, grace_until=3.0, claims=claims(generation, stages))
    decision = quorum(1.0, members, make_intent(), history)
    assert (decision.action, decision.generation) == (Action.ADOPT, generation)


@pytest.mark.parametrize(
    "stages",
    [[Stage.RUNNING] * 2, [Stage.PROPOSED] * 3, [Stage.RUNNING, Stage.OVER, Stage.RUNNING]],
    ids=["one is missing", "only proposed", "told over"],
)
def test_anything_else_is_over_after_the_grace(stages: list[Stage]) -> None:
    generation, members = running()
    history = make_history(settled=False, grace_until=3.0, claims=claims(generation, stages))
    assert quorum(1.0, members[: len(stages)], make_intent(), history).action is Action.NOTHING
    decision = quorum(3.0, members[: len(stages)], make_intent(), history)
    assert (decision.action, decision.generation) == (Action.OVER, generation)
