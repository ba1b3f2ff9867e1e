"""A generation that finishes no step: when that is told, and who waits for whom."""

from __future__ import annotations

from typing import Any

import pytest

from rendezvous_builders import make_generation, make_member, within
from trainingjob_api.contract.intent import Stall
from trainingjob_api.contract.messages import Generation, Phase, Source
from trainingjob_api.contract.stamps import MemberStamp
from trainingjob_rendezvous.quorum.members import Member
from trainingjob_rendezvous.quorum.waits import wait_of
from trainingjob_rendezvous.still import LEAST_SECONDS, SHOWN_SECONDS, STEPS, Still

GENERATION = make_generation([make_member(worker) for worker in range(3)])
FROM_STORAGE = make_generation([make_member(worker) for worker in range(3)], source=Source(kind="Storage"))
FROM_A_PEER = make_generation([make_member(worker) for worker in range(3)], source=Source(kind="Peer", rank=1))


def make_stamp(**fields: Any) -> MemberStamp:
    """Of a process that computes its 241st step, in no collective; `waits`: it is inside one."""
    waits = fields.pop("waits", False)
    defaults: dict[str, Any] = {"process": 0, "life": 0, "generation": GENERATION.id, "step": 240, "phase": Phase.STEPPING}
    return MemberStamp(**(defaults | {"entered": 5 if waits else 4, "left": 4, "step_seconds": 0.1} | fields))


def stamped(*stamps: MemberStamp, generation: Generation = GENERATION) -> list[Member]:
    """The members of the generation, by rank, in the phases of their stamps."""
    return [
        make_member(rank, stamp.phase, generation=generation.id, stamp=stamp)
        for rank, stamp in enumerate(stamp.model_copy(update={"generation": generation.id}) for stamp in stamps)
    ]


WAITS, COMPUTES = make_stamp(waits=True), make_stamp()
RESTORES, MEASURES = make_stamp(phase=Phase.RESTORING), make_stamp(phase=Phase.EVALUATING)
ENDS = make_stamp(phase=Phase.FINISHING)
CASES = {
    "a long step": (GENERATION, (WAITS, COMPUTES, WAITS), Stall.STEP, "worker 1 computes step 241 for unusually long; the others wait"),
    "data": (
        GENERATION,
        (make_stamp(activity="Loading"), WAITS, COMPUTES),
        Stall.DATA,
        "worker 0 waits for its dataset's samples; the others wait",
    ),
    "a first step": (
        GENERATION,
        (WAITS, WAITS, make_stamp(step_seconds=0.0)),
        Stall.COMPILE,
        "worker 2 computes its first step, which may compile; the others wait",
    ),
    "all compute": (GENERATION, (COMPUTES,) * 3, Stall.STEP, "workers 0, 1 and 2 compute step 241 for unusually long"),
    "all wait": (GENERATION, (WAITS,) * 3, Stall.HANG, "all ranks wait for each other in a collective, and nothing moves"),
    "a collective that one worker is not in": (
        GENERATION,
        (WAITS, *(make_stamp(waits=True, calling="all_reduce 2"),) * 2),
        Stall.HANG,
        "workers 1 and 2 wait in torch.distributed.all_reduce, call 2 of the task in step 241; worker 0 is not in it:"
        " either the task did not call it there, as every worker must, or the network failed",
    ),
    "a collective that all have called": (
        GENERATION,
        (make_stamp(waits=True, calling="all_reduce 2"),) * 3,
        Stall.HANG,
        "all ranks wait for each other in a collective, and nothing moves",
    ),
    "a slow network": (
        GENERATION,
        (make_stamp(waits=True, watched=True, quiet_seconds=2.0), make_stamp(waits=True, watched=True), WAITS),
        Stall.STEP,
        "all ranks are in a collective, and bytes move: the network is slow, or there is much to exchange",
    ),
    "no byte moves": (
        GENERATION,
        (make_stamp(waits=True, watched=True, quiet_seconds=2.0),) * 3,
        Stall.HANG,
        "all ranks wait for each other in a collective, and nothing moves",
    ),
    "a stopped process": (GENERATION, (WAITS, make_stamp(stopped=True), WAITS), Stall.HANG, "worker 1 is stopped by a signal"),
    "a checkpoint is read": (FROM_STORAGE, (RESTORES, WAITS, WAITS), Stall.RESTORING, "worker 0 reads the checkpoint; the others wait"),
    "a peer's state": (
        FROM_A_PEER,
        (WAITS, RESTORES, RESTORES),
        Stall.RESTORING,
        "workers 1 and 2 take the state from a peer; the others wait",
    ),
    "an evaluation": (GENERATION, (WAITS, MEASURES, WAITS), Stall.EVALUATING, "worker 1 measures on the validation data; the others wait"),
    "the end": (GENERATION, (ENDS,) * 3, Stall.FINISHING, "the last step is done: the model is measured, saved and exported"),
}


@pytest.mark.parametrize(("generation", "stamps", "stall", "words"), CASES.values(), ids=CASES.keys())
def test_who_waits_for_whom(generation: Generation, stamps: tuple[MemberStamp, ...], stall: Stall, words: str) -> None:
    wait = wait_of(generation, stamped(*stamps, generation=generation))
    assert (wait.stall, wait.words) == (stall, words)


def test_a_store_in_trouble_is_what_a_restore_and_the_end_wait_for() -> None:
    for generation, stamps in ((FROM_STORAGE, (RESTORES, WAITS, WAITS)), (GENERATION, (ENDS,) * 3)):
        wait = wait_of(generation, stamped(*stamps, generation=generation), trouble="worker 0: the store does not answer")
        assert wait.stall is Stall.STORAGE
        assert "worker 0: the store does not answer" in wait.words
        assert "saved" not in wait.words, "nothing is claimed to be in storage"


def test_a_cut_link_is_named_before_all_else() -> None:
    wait = wait_of(GENERATION, stamped(WAITS, WAITS, COMPUTES), links="workers 0 and 2 cannot reach each other")
    assert (wait.stall, wait.words) == (Stall.LINK, "workers 0 and 2 cannot reach each other")


def test_no_step_for_ten_seconds_is_told_and_a_step_takes_it_back() -> None:
    still = Still()
    still.look(0.0, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    still.look(LEAST_SECONDS - 0.1, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    assert (still.seconds, still.wait) == (0.0, None)
    still.look(LEAST_SECONDS + 2.5, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    assert (still.seconds, still.wait and still.wait.stall) == (12.0, Stall.STEP)
    still.look(LEAST_SECONDS + 2.6, GENERATION, stamped(make_stamp(step=241), COMPUTES, COMPUTES))
    assert (still.seconds, still.wait) == (0.0, None)


def test_slow_steps_have_ten_steps_time() -> None:
    still = Still()
    slow = make_stamp(step_seconds=60.0)
    still.look(0.0, GENERATION, stamped(slow, WAITS, WAITS))
    still.look(60.0 * STEPS - 1, GENERATION, stamped(slow, WAITS, WAITS))
    assert still.wait is None
    still.look(60.0 * STEPS, GENERATION, stamped(slow, WAITS, WAITS))
    assert still.wait is not None


def test_a_new_generation_begins_anew_and_none_is_no_stall() -> None:
    still = Still()
    still.look(0.0, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    later = make_generation([make_member(worker) for worker in range(3)], n=2)
    still.look(30.0, later, stamped(RESTORES, WAITS, WAITS, generation=later))
    assert still.wait is None
    still.look(50.0, later, stamped(RESTORES, WAITS, WAITS, generation=later))
    assert still.wait is not None
    still.look(50.1, None, stamped(RESTORES, WAITS, WAITS, generation=later))
    assert (still.seconds, still.wait) == (0.0, None)


def test_members_of_older_agents_tell_no_stall() -> None:
    still = Still()
    for now in (0.0, 100.0):
        still.look(now, GENERATION, within([make_member(worker) for worker in range(3)], GENERATION))
    assert still.wait is None


def test_a_reason_is_told_for_a_while_before_another_takes_its_place() -> None:
    still = Still()
    loads = make_stamp(activity="Loading")
    still.look(0.0, GENERATION, stamped(loads, WAITS, WAITS))
    still.look(10.0, GENERATION, stamped(loads, WAITS, WAITS))
    first = still.wait
    still.look(10.0 + SHOWN_SECONDS - 1, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    assert still.wait == first
    still.look(10.0 + SHOWN_SECONDS, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    assert still.wait is not None
    assert still.wait.stall is Stall.STEP


def test_a_generation_has_no_rate_before_its_first_step() -> None:
    still = Still()
    still.look(0.0, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    still.look(5.0, GENERATION, stamped(COMPUTES, WAITS, WAITS))
    assert not still.has_stepped
    still.look(6.0, GENERATION, stamped(make_stamp(step=241), COMPUTES, COMPUTES))
    assert still.has_stepped
