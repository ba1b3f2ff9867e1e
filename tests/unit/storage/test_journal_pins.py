"""The checkpoint of a rollback is kept until the job goes back to it, and what a position names is there."""

import pytest

from storage_fakes import DiedError, MemoryStore, dying, losing_answers, write_shards
from storage_world import assert_whole
from trainingjob_api.contract.messages import GenerationId, Keep, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_storage.errors import Unreachable
from trainingjob_storage.journal import Journal

FIRST, SECOND = GenerationId(1, 1, 1), GenerationId(2, 1, 1)
BY = Authority(1, 1)
BACK = Restore(kind="Step", step=10, request="r1")


def journal(store, uid="u1", keep=2):
    return Journal(store, uid, "default/digits", "build-1", False, lambda: 0.0, keep=keep)


@pytest.fixture
def store():
    store = MemoryStore()
    writer = journal(store)
    writer.open_attempt(FIRST, Restore())
    save(writer, store, 10, 20)
    return store


def save(writer, store, *steps, generation=FIRST):
    """Each save is committed, and what need not be kept is dropped, as the committer does."""
    for step in steps:
        writer.commit(write_shards(store, generation, step), generation.epoch)
        writer.apply_retention(Authority(generation.attempt, generation.epoch), 2)


def pins(store):
    return [kept.step for kept in assert_whole(store).visible() if kept.pinned]


def test_a_pinned_checkpoint_stays_until_the_job_has_gone_back_to_it(store):
    writer = journal(store)
    position = writer.pin(Keep(step=10, request="r1"))
    assert (position.asked, position.found) == (Keep(step=10, request="r1"), True)
    save(writer, store, 30, 40)
    assert writer.position().checkpoints == (10, 30, 40)
    assert writer.open_attempt(SECOND, BACK).step == 10
    assert pins(store) == []
    save(writer, store, 15, 25, 35, generation=SECOND)
    assert writer.position().checkpoints == (25, 35)
    assert store.list("saves/00000010-a1e1n1/") == []


def test_the_late_pin_of_a_replaced_request_does_not_end_the_present_one(store):
    writer, late = journal(store), journal(store)
    assert writer.pin(Keep(step=10, request="r2")).found
    late.pin(Keep(step=20, request="r1"))
    save(writer, store, 30, 40, 50)
    back = Restore(kind="Step", step=10, request="r2")
    opened = journal(store).open_attempt(SECOND, back)
    assert (opened.step, opened.position.missing_request) == (10, None)
    assert pins(store) == [], "the rollback ends them all"


def test_a_pin_is_renewed_for_another_request(store):
    for step, request in ((10, "r1"), (20, "r2"), (10, "r3"), (10, "r3")):
        assert journal(store).pin(Keep(step=step, request=request)).found
    assert [int(label[:8]) for label in assert_whole(store).pins] == [20, 10]


def test_a_pin_outlives_the_jobs_success_and_ends_with_its_next_life(store):
    writer = journal(store)
    writer.pin(Keep(step=10, request="r1"))
    writer.done(BY, 20, {})
    save(writer, store, 30, 40)  # a commit that comes late: a rollback may still wait for the pinned one
    assert pins(store) == [10]
    writer.open_attempt(SECOND, Restore())
    save(writer, store, 50, generation=SECOND)
    assert (pins(store), writer.position().checkpoints) == ([], (40, 50))


def test_a_rollback_that_was_carried_out_needs_no_pin(store):
    journal(store).open_attempt(SECOND, BACK)
    assert journal(store).pin(Keep(step=10, request="r1")).found
    assert pins(store) == []


def test_nothing_is_kept_in_the_storage_of_another_job_or_of_none(store):
    for place in (store, MemoryStore()):
        before = place.list("log/")
        assert not journal(place, "u2").pin(Keep(step=10, request="r1")).found
        assert place.list("log/") == before


def test_a_pin_whose_answer_was_lost_is_found(store):
    watched, fired = losing_answers(store, {0})
    writer = journal(watched)
    with pytest.raises(Unreachable):
        writer.pin(Keep(step=10, request="r1"))
    assert writer.pin(Keep(step=10, request="r1")).found
    assert (len(fired), pins(store)) == (1, [10])


@pytest.mark.parametrize("answered", [False, True])
def test_whoever_dies_while_the_job_goes_back_leaves_the_target_to_the_next(answered):
    for request in range(200):
        store = MemoryStore()
        writer = journal(store)
        writer.open_attempt(FIRST, Restore())
        save(writer, store, 10, 20)
        keep = Keep(step=10, request="r1")
        assert journal(store).pin(keep).found
        try:
            journal(dying(store, request, answered=answered)).open_attempt(SECOND, BACK)
        except DiedError:
            pass
        else:
            break
        # The old attempt may be running still, if it was not fenced.
        if assert_whole(store).attempt == 1:
            save(writer, store, 30, 40)
        third = journal(store).open_attempt(GenerationId(3, 1, 1), BACK)
        assert (third.step, third.position.request, third.position.missing_request) == (10, "r1", None)
    assert request > 5


def test_a_position_names_the_pinned_checkpoint_beside_the_newest_ones_and_no_more_than_twenty(store):
    writer = journal(store, keep=None)
    writer.pin(Keep(step=10, request="r1"))
    for step in range(30, 330, 10):
        writer.commit(write_shards(store, FIRST, step), 1)
    assert writer.position().checkpoints == (10, *range(140, 330, 10))


def test_a_position_leaves_out_what_retention_drops_next(store):
    position = journal(store).commit(write_shards(store, FIRST, 30), 1)
    assert position.checkpoints == (20, 30)
    assert [kept.step for kept in assert_whole(store).visible()] == [10, 20, 30]


def test_a_checkpoint_that_the_newest_position_names_is_not_dropped(store):
    writer, other = journal(store), journal(store)
    assert writer.commit(write_shards(store, FIRST, 30), 1).checkpoints == (20, 30)
    other.commit(write_shards(store, FIRST, 40), 1)  # and its position is still on its way
    assert writer.apply_retention(BY, 2) == ["00000010-a1e1n1"]
    assert writer.position().checkpoints == (30, 40)
