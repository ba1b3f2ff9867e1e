"""What the machine gives: the objects of 100 jobs, made by our operator, and made by a client that does nothing else.

The client makes the same TrainingJobs, and of each exactly what the operator makes of it (`preview`), 32 requests at once, in no order.
What it makes them of is worked out beforehand; it writes no status, and it watches nothing.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from bench.figure import Figure, Sample, Target
from bench.operator import JOBS, ROUNDS, rate
from bench.scale.load import client
from bench.scale.operators import WORKERS, Ours
from bench.scale.world import BARE, World, world
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.child_kinds import CHILDREN
from trainingjob_operator.controllers.training_job.plan import preview
from trainingjob_operator.controllers.training_job.settings import Settings


def measure() -> list[Figure]:
    """Jobs a second."""
    with world() as cluster:
        ours = Ours(cluster)
        rate(cluster, ours, jobs=5)
        mine, limit = [], []
        for _ in range(ROUNDS):
            mine.append(rate(cluster, ours))
            limit.append(_bare(cluster, ours))
    what = f"jobs/s, {JOBS} jobs of {WORKERS} pods created → all Running"
    target = Target("ratio", at_least=0.8)
    return [Figure("operator-limit", what, "jobs/s", Sample.of(mine), "a bare client", Sample.of(limit), (target,))]


def _bare(cluster: World, ours: Ours) -> float:
    namespace = cluster.namespace("bare")
    seconds = asyncio.run(_made(cluster, ours, namespace))
    cluster.remove(namespace)
    return JOBS / seconds


async def _made(cluster: World, ours: Ours, namespace: str) -> float:
    async with client(cluster, BARE) as user:
        began = time.monotonic()
        jobs = await asyncio.gather(*(user.call("POST", ours.path(namespace), ours.job(f"job-{number}")) for number in range(JOBS)))
        posted = time.monotonic() - began
        settings, now = Settings(), datetime.now(UTC)
        objects = [manifest for job in jobs for manifest in preview(TrainingJob.from_object(job), settings, now)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            all_run = group.create_task(user.running(namespace, ours.selector, JOBS * WORKERS))
            for manifest in objects:
                group.create_task(user.call("POST", CHILDREN[manifest["kind"]].path(namespace), manifest))
    return posted + all_run.result() - began
