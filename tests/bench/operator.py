"""How many jobs a second get from created to all Running: 100 jobs of four pods that train, all made at once.

Both operators work on the same API server, one after the other, each time in a fresh namespace; the other one does not run meanwhile.
Beside Kubeflow's as it is installed there is Kubeflow's with 16 threads, built with its client's limit of 20 requests a second raised
to 500.
"""

from __future__ import annotations

import asyncio

from bench.figure import Figure, Sample, Target
from bench.scale.load import burst
from bench.scale.operators import WORKERS, Kubeflow, Ours, Subject
from bench.scale.world import World, world

JOBS = 100
ROUNDS = 3
SLOW_ROUNDS = 2
"""Of the one that takes a minute."""
_TWICE = (Target("ratio", at_least=2.0),)


def measure() -> list[Figure]:
    """Jobs a second."""
    with world() as cluster:
        ours, theirs, tuned = Ours(cluster), Kubeflow(cluster), Kubeflow(cluster, 16, raised=True)
        for subject in (ours, tuned):
            rate(cluster, subject, jobs=5)  # what is done once in an API server's life
        found: dict[str, list[float]] = {subject.name: [] for subject in (ours, theirs, tuned)}
        for turn in range(ROUNDS):
            for subject in (ours, tuned, *((theirs,) if turn < SLOW_ROUNDS else ())):
                found[subject.name].append(rate(cluster, subject))
    what, mine = f"jobs/s, {JOBS} jobs of {WORKERS} pods created → all Running", Sample.of(found[ours.name])
    return [
        Figure("operator", what, "jobs/s", mine, theirs.name, Sample.of(found[theirs.name]), _TWICE),
        Figure("operator-tuned", what, "jobs/s", mine, tuned.name, Sample.of(found[tuned.name]), _TWICE),
    ]


def rate(cluster: World, subject: Subject, jobs: int = JOBS) -> float:
    """Jobs a second of one operator, which is started for it and leaves nothing."""
    subject.start()
    namespace = cluster.namespace("burst")
    seconds = asyncio.run(burst(cluster, subject, namespace, jobs, WORKERS))
    subject.stop()
    cluster.remove(namespace)
    return jobs / seconds
