"""Invariants 1 and 2 over many histories: several writers, interleaved request by request, that die and lose answers."""

import contextlib
import random

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from storage_fakes import Watched, write_shards
from storage_world import Fate, World, assert_whole
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_storage.errors import AttemptTaken, CheckpointMissing, Fenced, OwnedByAnother, Unreachable
from trainingjob_storage.journal import Journal

NUMBERS = st.frozensets(st.integers(0, 60), max_size=4)
FATES = st.builds(
    Fate,
    dies_before=st.one_of(st.just(-1), st.just(-1), st.integers(0, 80)),
    dies_after=st.one_of(st.just(-1), st.just(-1), st.integers(0, 80)),
    lost=NUMBERS,
    unanswered=NUMBERS,
)
ORDERS = st.builds(random.Random, st.integers(0, 2**32))
"""Who is next, request by request."""
ACTIONS = st.lists(st.sampled_from(["save", "save", "save", "tidy", "pin", "rollback", "reopen", "done"]), min_size=3, max_size=7)


class Agent:
    """An agent that does its script, tries again what the store failed at, and stands down when it is told to."""

    def __init__(self, name: str, owner: str, script: list[str], promises: dict[str, int], adopt: bool = False) -> None:
        self.name = name
        self.owner = owner
        self.script = script
        self.promises = promises
        self.adopt = adopt
        self.step = 0

    def __call__(self, store: Watched) -> None:
        self.journal = Journal(store, self.owner, f"default/{self.owner}", "build", self.adopt, lambda: 0.0, self.name)
        self.store = store
        with contextlib.suppress(Fenced):
            self.open(Restore())
            for action in self.script:
                self.act(action)

    def again(self, call):
        for _ in range(12):
            try:
                return call()
            except Unreachable:
                continue
        raise AssertionError("more failures than were planned")

    def open(self, restore: Restore) -> None:
        """As the operator does: one above what the log says, whatever others do meanwhile."""
        attempt = self.again(self.journal.position).attempt + 1
        for _ in range(6):
            self.generation = GenerationId(attempt, 1, 1)
            try:
                opening = self.again(lambda: self.journal.open_attempt(self.generation, restore))
            except AttemptTaken as taken:
                attempt = taken.attempt + 1
                continue
            self.step = opening.step or 0
            return
        raise Fenced("never got an attempt")

    def act(self, action: str) -> None:
        authority = Authority(self.generation.attempt, 1)
        if action == "save":
            self.step += 10
            commit = self.again(lambda: write_shards(self.store, self.generation, self.step))
            self.again(lambda: self.journal.commit(commit, 1))
            self.promises[str(Label.of(commit.save))] = self.step
        elif action == "tidy":
            self.again(lambda: self.journal.apply_retention(authority, 2))
        elif action == "pin":
            with contextlib.suppress(CheckpointMissing):
                self.again(lambda: self.journal.pin(authority, self.step))
        elif action == "done":
            self.again(lambda: self.journal.done(authority, self.step, {"loss": 0.5}))
        elif action == "rollback":
            target = self.again(self.journal.position).checkpoints[:1]
            with contextlib.suppress(CheckpointMissing):
                request = f"{self.name}-{self.step}"
                self.open(Restore(kind="Step", step=target[0], request=request) if target else Restore())
        else:
            self.open(Restore())


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def settle(world: World, promises: dict[str, int]) -> None:
    """After all of it: a fresh agent opens the newest checkpoint, and nothing acknowledged is forgotten."""
    seen = assert_whole(world.store)
    for label in promises:
        assert label in seen.checkpoints or label in seen.dropped, f"{label} was acknowledged, and is not in the log"
    if seen.owner is None:
        return
    newest = seen.newest()
    heir = Journal(world.store, seen.owner.owner_uid, "default/x", "build", False, lambda: 0.0)
    assert heir.open_attempt(GenerationId(seen.attempt + 1, 9, 1), Restore()).step == (newest.step if newest else None)


@given(st.lists(st.tuples(FATES, ACTIONS), min_size=2, max_size=3), ORDERS)
@SETTINGS
def test_writers_of_one_job_make_one_history(agents, order):
    world, promises = World(), {}
    writers = [world.add(f"w{number}", fate, Agent(f"w{number}", "u1", script, promises)) for number, (fate, script) in enumerate(agents)]
    world.run(order.randrange, lambda: assert_whole(world.store))
    for fired in {fault for writer in writers for fault in writer.fired}:
        event(fired)
    settle(world, promises)


@given(st.tuples(FATES, ACTIONS), st.tuples(FATES, ACTIONS), st.booleans(), ORDERS)
@SETTINGS
def test_of_two_jobs_one_owns_the_prefix_and_an_adopted_one_is_never_taken_back(first, second, adopt, order):
    world, promises = World(), {}
    owners: list[str] = []

    def check() -> None:
        seen = assert_whole(world.store)
        if seen.owner and (not owners or owners[-1] != seen.owner.owner_uid):
            owners.append(seen.owner.owner_uid)

    world.add("w1", first[0], Agent("w1", "u1", first[1], promises, adopt=adopt))
    world.add("w2", second[0], Agent("w2", "u2", second[1], promises, adopt=adopt))
    world.run(order.randrange, check)
    event(" then ".join(owners))
    assert len(owners) <= (2 if adopt else 1)
    settle(world, promises)


def test_a_foreign_job_hears_whose_the_prefix_is():
    world = World()
    Agent("w1", "u1", [], {})(Watched(world.store, lambda *_: None, lambda *_: None))
    foreign = Journal(world.store, "u2", "default/u2", "build", False, lambda: 0.0)
    with pytest.raises(OwnedByAnother, match="default/u1"):
        foreign.open_attempt(GenerationId(5, 1, 1), Restore())
