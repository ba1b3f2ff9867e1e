"""Invariants 1 and 2 over many histories: several writers, interleaved request by request, that die and lose answers."""

import contextlib
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from storage_fakes import MemoryStore, Watched, write_shards
from storage_world import Fate, World, assert_whole, log_of
from trainingjob_api.contract.messages import GenerationId, Keep, LogPosition, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_storage.errors import AttemptTaken, Fenced, OwnedByAnother, Unreachable
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
KEPT = 2
ACTIONS = st.lists(
    st.sampled_from(["save", "save", "save", "tidy", "pin", "rollback", "rollback", "reopen", "done"]), min_size=3, max_size=7
)


@dataclass
class Promises:
    """What the job was told."""

    store: MemoryStore
    saves: dict[str, int] = field(default_factory=dict)
    """Saves that were acknowledged."""
    named: LogPosition = field(default_factory=lambda: LogPosition(seq=-1))
    """The newest position that was reported."""

    def report(self, position: LogPosition) -> LogPosition:
        self.named = position if position.seq >= self.named.seq else self.named
        return position

    def check(self) -> None:
        """What is named is there; a rollback may have hidden it since."""
        seen = assert_whole(self.store)
        there = {kept.step for kept in seen.checkpoints.values()}
        assert there.issuperset(self.named.checkpoints), f"entry {seen.seq} has dropped what {self.named} names"


class Agent:
    """An agent that does its script, tries again what the store failed at, and stands down when it is told to."""

    def __init__(self, name: str, owner: str, script: list[str], promises: Promises, adopt: bool = False) -> None:
        self.name = name
        self.owner = owner
        self.script = script
        self.promises = promises
        self.adopt = adopt
        self.step = 0

    def __call__(self, store: Watched) -> None:
        self.journal = Journal(store, self.owner, f"default/{self.owner}", "build", self.adopt, lambda: 0.0, self.name, keep=KEPT)
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
            self.opening = self.promises.report(opening.position)
            return
        raise Fenced("never got an attempt")

    def act(self, action: str) -> None:
        authority = Authority(self.generation.attempt, 1)
        if action == "save":
            self.step += 10
            commit = self.again(lambda: write_shards(self.store, self.generation, self.step))
            self.promises.report(self.again(lambda: self.journal.commit(commit, 1)))
            self.promises.saves[str(Label.of(commit.save))] = self.step
        elif action == "tidy":
            self.again(lambda: self.journal.apply_retention(authority, KEPT))
            self.promises.report(self.again(self.journal.position))
        elif action == "pin":
            self.promises.report(self.again(lambda: self.journal.pin(Keep(step=self.step, request=f"{self.name}-pin"))))
        elif action == "done":
            self.again(lambda: self.journal.done(authority, self.step, {"loss": 0.5}))
        elif action == "rollback":
            self.roll_back()
        else:
            self.open(Restore())

    def roll_back(self) -> None:
        """As operator and agents do: pin what is to be gone back to, then open the attempt. Others save, tidy and roll back meanwhile."""
        position = self.promises.report(self.again(self.journal.position))
        if not position.checkpoints:
            return
        keep = Keep(step=position.checkpoints[0], request=f"{self.name}-{position.seq}")
        position = self.promises.report(self.again(lambda: self.journal.pin(keep)))
        if not position.found:
            return
        self.open(Restore(kind="Step", step=keep.step, request=keep.request))
        if self.opening.request != keep.request:
            event("another one went back, or pinned something else")
            log = [entry.kind for entry in log_of(self.promises.store)[: self.opening.seq + 1]]
            assert self.opening.missing_request == keep.request
            assert {"pin", "rollback"} & set(log[position.seq + 1 :]) or "done" in log, "it was pinned, and is lost"


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def settle(world: World, promises: Promises) -> None:
    """After all of it: a fresh agent opens the newest checkpoint, and nothing acknowledged is forgotten."""
    seen = assert_whole(world.store)
    for label in promises.saves:
        assert label in seen.checkpoints or label in seen.dropped, f"{label} was acknowledged, and is not in the log"
    if seen.owner is None:
        return
    newest = seen.newest()
    heir = Journal(world.store, seen.owner.owner_uid, "default/x", "build", False, lambda: 0.0)
    assert heir.open_attempt(GenerationId(seen.attempt + 1, 9, 1), Restore()).step == (newest.step if newest else None)


@given(st.lists(st.tuples(FATES, ACTIONS), min_size=2, max_size=3), ORDERS)
@SETTINGS
def test_writers_of_one_job_make_one_history(agents, order):
    world = World()
    promises = Promises(world.store)
    writers = [world.add(f"w{number}", fate, Agent(f"w{number}", "u1", script, promises)) for number, (fate, script) in enumerate(agents)]
    world.run(order.randrange, promises.check)
    for fired in {fault for writer in writers for fault in writer.fired}:
        event(fired)
    settle(world, promises)


@given(st.tuples(FATES, ACTIONS), st.tuples(FATES, ACTIONS), st.booleans(), ORDERS)
@SETTINGS
def test_of_two_jobs_one_owns_the_prefix_and_an_adopted_one_is_never_taken_back(first, second, adopt, order):
    world = World()
    promises = Promises(world.store)
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
    Agent("w1", "u1", [], Promises(world.store))(Watched(world.store, lambda *_: None, lambda *_: None))
    foreign = Journal(world.store, "u2", "default/u2", "build", False, lambda: 0.0)
    with pytest.raises(OwnedByAnother, match="default/u1"):
        foreign.open_attempt(GenerationId(5, 1, 1), Restore())
