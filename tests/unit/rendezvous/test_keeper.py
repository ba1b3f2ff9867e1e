"""Who pins the checkpoint that a rollback waits for, and how the operator learns of it."""

from __future__ import annotations

from rendezvous_builders import make_generation, make_intent, make_log, make_member
from trainingjob_api.contract.messages import Hello, Keep
from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_rendezvous.keeper import keeper
from trainingjob_rendezvous.quorum.members import AgentId
from trainingjob_rendezvous.rendezvous import Rendezvous

KEEP, OTHER = Keep(step=10, request="r1"), Keep(step=20, request="r2")
FIRST, SECOND = AgentId(0, 0), AgentId(1, 0)


def made(*keeps: bool) -> Rendezvous:
    """A rendezvous of agents that can, or cannot, keep a checkpoint."""
    rendezvous = Rendezvous(now=0.0, epoch=1, first_intent=make_intent(2, build="b"))
    for worker, able in enumerate(keeps):
        hello = Hello(contract=CONTRACT_VERSION, build="b", worker=worker, incarnation=0, address="a", keeps=able)
        assert rendezvous.hello(0.0, hello) is None
    return rendezvous


def asked(rendezvous: Rendezvous) -> list[Keep | None]:
    return [rendezvous.orders(agent).keep for agent in (FIRST, SECOND)]


def answered(rendezvous: Rendezvous) -> tuple[Keep | None, bool]:
    log = rendezvous.report().log
    return (None, False) if log is None else (log.asked, log.found)


def test_one_agent_is_asked_and_the_next_one_when_it_is_gone() -> None:
    rendezvous = made(True, True)
    assert asked(rendezvous) == [None, None]
    rendezvous.take_intent(1.0, make_intent(2, build="b", keep=KEEP))
    assert asked(rendezvous) == [KEEP, None]
    rendezvous.members.disconnect(FIRST)
    assert asked(rendezvous) == [None, KEEP]


def test_the_lowest_rank_is_asked_first() -> None:
    rendezvous = made(True, True)
    generation = make_generation([make_member(1), make_member(0)])
    assert keeper(rendezvous.members.agents, generation) == SECOND
    assert keeper({FIRST: rendezvous.members.agents[FIRST]}, generation) == FIRST


def test_an_agent_of_an_older_version_is_not_asked() -> None:
    rendezvous = made(False, True)
    rendezvous.take_intent(1.0, make_intent(2, build="b", keep=KEEP))
    assert asked(rendezvous) == [None, KEEP]
    assert rendezvous.report().keeps
    assert not made(False, False).report().keeps
    assert made().report().keeps, "as soon as somebody is there"


def test_the_answer_stays_with_the_position_whoever_moves_it_on() -> None:
    rendezvous = made(True, True)
    rendezvous.take_intent(1.0, make_intent(2, build="b", keep=KEEP))
    rendezvous.hear(1.0, FIRST, make_log(10, asked=KEEP, found=True))
    rendezvous.hear(2.0, SECOND, make_log(20).model_copy(update={"seq": 9}))
    assert answered(rendezvous) == (KEEP, True)
    rendezvous.take_intent(3.0, make_intent(2, build="b", keep=OTHER))
    rendezvous.hear(3.0, SECOND, make_log(20, asked=OTHER).model_copy(update={"seq": 9}))
    rendezvous.hear(4.0, FIRST, make_log(30, asked=KEEP, found=True).model_copy(update={"seq": 11}))
    assert answered(rendezvous) == (OTHER, False)


def test_an_answer_that_was_given_to_the_rendezvous_before_is_heard() -> None:
    rendezvous = made(True, True)
    rendezvous.hear(1.0, FIRST, make_log(10, asked=KEEP, found=True))
    rendezvous.take_intent(2.0, make_intent(2, build="b", keep=KEEP))
    assert answered(rendezvous) == (KEEP, True)


def test_a_lost_checkpoint_is_told_as_long_as_the_opening_is() -> None:
    rendezvous = made(True, True)
    rendezvous.hear(1.0, FIRST, make_log(10, opened_attempt=1, missing_request="r1"))
    rendezvous.hear(2.0, SECOND, make_log(20).model_copy(update={"seq": 9}))
    log = rendezvous.report().log
    assert log is not None
    assert (log.seq, log.missing_request) == (9, "r1")
