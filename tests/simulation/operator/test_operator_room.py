"""Jobs on a cluster that has not room for all: each is trained in the end, and none holds for ever what the others need."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operator_world import World
from trainingjob_operator.controllers.training_job.state import PodPhase, Role

SECONDS = 4000
DEATHS = st.lists(st.none() | st.integers(0, 6), max_size=40)
"""Of a job's operator, in its first passes: after how many actions."""


class Room:
    """So many places, which pods of all jobs take and give back. A scheduler gives one a second, to the pod that asks first in line."""

    def __init__(self, places: int, jobs: list[World]) -> None:
        self.places = places
        self.jobs = jobs
        self.half_placed = 0

    def taken(self) -> int:
        return sum(len(placed(job)) for job in self.jobs)

    def place(self, order: int) -> None:
        """Rendezvous need no place; workers get what is free, the jobs in turns."""
        for job in self.jobs:
            for name, pod in [*job.pods.items()]:
                if pod.role is Role.RENDEZVOUS:
                    job.start_pod(name)
        turn = order % len(self.jobs)
        waiting = [waits(job) for job in self.jobs[turn:] + self.jobs[:turn]]
        rounds = [(job, name) for depth in range(8) for job, names in waiting for name in names[depth : depth + 1]]
        for job, name in rounds[: max(0, self.places - self.taken())]:
            job.start_pod(name)
        assert self.taken() <= self.places
        self.half_placed += all(0 < len(placed(job)) < job.spec["workers"]["minReplicas"] for job in self.jobs)


def placed(job: World) -> list[str]:
    return [pod.name for pod in job.pods.values() if pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING]


def waits(job: World) -> tuple[World, list[str]]:
    pending = [pod.name for pod in job.pods.values() if pod.role is Role.WORKER and pod.phase is PodPhase.PENDING and not pod.deleting]
    return job, sorted(pending)


def make_job(uid: str, replicas: int, least: int) -> World:
    world = World(uid)
    world.edit(workers={"replicas": replicas, "minReplicas": least})
    return world


def live(room: Room, deaths: list[int | None], order: int = 0) -> int:
    """Time passes until all jobs are done; how many seconds that took."""
    for second in range(SECONDS):
        killed_after = deaths[second] if second < len(deaths) else None
        for job in room.jobs:
            job.operate(killed_after)
            job.end_deleting()
        room.place(order + second)
        for job in room.jobs:
            job.train()
            job.deliver()
            job.pass_time(1.0)
        if all(job.status.phase == "Succeeded" for job in room.jobs):
            return second
    raise AssertionError([(job.status.phase, job.status.placement, placed(job)) for job in room.jobs])


def releases(room: Room) -> int:
    """Every release is a new attempt; nothing else is in these worlds."""
    return sum(job.status.attempt - 1 for job in room.jobs)


def test_two_jobs_that_hold_half_each_are_both_trained() -> None:
    room = Room(3, [make_job("one", 3, 3), make_job("another", 3, 3)])
    seconds = live(room, [])
    assert room.half_placed > 90, "they held each other up"
    assert releases(room) >= 1
    assert seconds < 400


def test_a_job_with_room_gives_nothing_back_however_long_another_waits() -> None:
    room = Room(3, [make_job("one", 2, 2), make_job("another", 2, 2)])
    live(room, [])
    first = min(room.jobs, key=lambda job: job.status.attempt)
    assert first.status.attempt == 1
    assert first.status.placement is None
    assert room.half_placed == 0


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 4).flatmap(lambda least: st.tuples(st.integers(least, 4), st.just(least))), min_size=2, max_size=3),
    spare_places=st.integers(0, 3),
    names=st.lists(st.text("abc", min_size=1, max_size=4), min_size=3, max_size=3, unique=True),
    deaths=DEATHS,
    order=st.integers(0, 5),
)
def test_all_jobs_are_trained(
    sizes: list[tuple[int, int]], spare_places: int, names: list[str], deaths: list[int | None], order: int
) -> None:
    jobs = [make_job(uid, replicas, least) for uid, (replicas, least) in zip(names, sizes, strict=False)]
    live(Room(max(least for _, least in sizes) + spare_places, jobs), deaths, order)
