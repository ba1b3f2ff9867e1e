"""A rollback is asked for while two agents save and tidy up, and whoever carries it out may die: its checkpoint is not lost."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from storage_fakes import MemoryStore, Watched, write_shards
from storage_world import Fate, World, assert_whole
from trainingjob_api.contract.messages import GenerationId, Keep, LogPosition, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_storage.errors import Fenced, NotWhole, Unreachable
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import Store

FIRST, SECOND, THIRD = (GenerationId(attempt, 1, 1) for attempt in (1, 2, 3))
KEPT = 2
ORDERS = st.builds(random.Random, st.integers(0, 2**32))
FATES = st.builds(
    Fate,
    dies_before=st.one_of(st.just(-1), st.integers(0, 40)),
    dies_after=st.one_of(st.just(-1), st.integers(0, 40)),
    lost=st.frozensets(st.integers(0, 30), max_size=2),
    unanswered=st.frozensets(st.integers(0, 30), max_size=2),
)


def journal(store: Store, identity: str) -> Journal:
    return Journal(store, "u1", "default/digits", "build", False, lambda: 0.0, identity, keep=KEPT)


def again(call: Callable[[], LogPosition]) -> LogPosition:
    """Try again what the store failed at, as agents do."""
    while True:
        with contextlib.suppress(Unreachable):
            return call()


@dataclass
class Job:
    """A job in its first attempt, and what the operator was told of it."""

    store: MemoryStore
    named: LogPosition = field(default_factory=lambda: LogPosition(seq=-1))
    pinned: bool = False
    carried_out: bool = False

    def __post_init__(self) -> None:
        opener = journal(self.store, "opener")
        opener.open_attempt(FIRST, Restore())
        for step in (10, 20):
            self.report(opener.commit(write_shards(self.store, FIRST, step), 1))

    def report(self, position: LogPosition) -> LogPosition:
        self.named = position if position.seq >= self.named.seq else self.named
        return position

    def saves(self, *steps: int) -> Callable[[Watched], None]:
        """An agent that commits these steps, reports, and lets go what need not be kept."""

        def work(store: Watched) -> None:
            own = journal(store, f"saver of {steps}")
            with contextlib.suppress(Fenced):
                for step in steps:
                    commit = write_shards(self.store, FIRST, step)
                    with contextlib.suppress(NotWhole):  # the other one has committed a newer step, and swept this save
                        self.report(again(lambda commit=commit: own.commit(commit, 1)))  # type: ignore[misc]
                    with contextlib.suppress(Unreachable):
                        own.apply_retention(Authority(1, 1), KEPT)

        return work

    def goes_back(self, step: int) -> Callable[[Watched], None]:
        """Pin the checkpoint, as an agent is asked to; if it is there, open the attempt that goes back to it."""

        def work(store: Watched) -> None:
            own, keep = journal(store, "pinner"), Keep(step=step, request="r1")
            self.pinned = self.report(again(lambda: own.pin(keep))).found
            if self.pinned:
                own = journal(store, "opener of the second")
                back = Restore(kind="Step", step=step, request="r1")
                opened = self.report(again(lambda: own.open_attempt(SECOND, back).position))
                assert (opened.request, opened.missing_request) == ("r1", None), "it was pinned, and is lost"
                assert opened.restored_step == step
                self.carried_out = True

        return work

    def pins_late(self, step: int) -> Callable[[Watched], None]:
        """An agent that has lost the rendezvous, and still holds a request that was replaced."""

        def work(store: Watched) -> None:
            again(lambda: journal(store, "late").pin(Keep(step=step, request="r0")))

        return work

    def check(self) -> None:
        """What the newest report names is there; a rollback may have hidden it since."""
        seen = assert_whole(self.store)
        there = {kept.step for kept in seen.checkpoints.values()}
        assert there.issuperset(self.named.checkpoints), f"entry {seen.seq} has dropped what {self.named} names"


@given(st.tuples(FATES, FATES, FATES), st.sampled_from([10, 20]), ORDERS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_pinned_target_outlives_retention_and_the_death_of_whoever_goes_back(fates, step, order):
    world = World()
    job = Job(world.store)
    world.add("a", fates[0], job.saves(30, 50, 70))
    world.add("b", fates[1], job.saves(40, 60))
    world.add("c", fates[2], job.goes_back(step))
    world.add("d", Fate(), job.pins_late(30 - step))
    world.run(order.randrange, job.check)
    event("pinned" if job.pinned else "gone or dead", "carried out" if job.carried_out else "left to another")
    if job.pinned and not job.carried_out:
        heir = journal(world.store, "heir").open_attempt(THIRD, Restore(kind="Step", step=step, request="r1"))
        assert (heir.step, heir.position.request) == (step, "r1")
    if job.pinned:
        pins = {kept.step for kept in assert_whole(world.store).visible() if kept.pinned}
        assert step not in pins, "the pin ended with the rollback"
