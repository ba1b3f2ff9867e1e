"""One operator and 1,000 jobs whose rendezvous all live and report another step every second.

The streams are real (TLS 1.3, a certificate for each job, WebSocket), the rendezvous are one process (bench.scale.rendezvous). CPU is a
minute's, memory the largest seen in it; a status' staleness is how old the step is that it shows, the largest over all jobs each time.
Then the operator ends, and from the start of its next process to the last stream that stands again is the time to reconnect: imports,
lists and all.
"""

from __future__ import annotations

import asyncio
import time

from bench.figure import Figure, Sample, Target
from bench.scale.crowd import Crowd
from bench.scale.load import burst
from bench.scale.operators import Ours
from bench.scale.usage import cpu_seconds, resident_mib
from bench.scale.world import World, world
from local_job import until

JOBS = 1000
LOOKS = 6
LOOK_SECONDS = 10.0
RESTARTS = 3


def measure() -> list[Figure]:
    """CPU, memory, staleness, and the time to reconnect."""
    with world() as cluster:
        ours = Ours(cluster)
        pid = ours.start()
        namespace = cluster.namespace("streams")
        asyncio.run(burst(cluster, ours, namespace, JOBS, 1))
        crowd = Crowd(cluster)
        until("all streams stand", crowd.all_stand, 180)
        _wait(2 * LOOK_SECONDS)
        cpu, resident, stale = [], [], []
        for _ in range(LOOKS):
            before, began = cpu_seconds(pid), time.monotonic()
            _wait(LOOK_SECONDS)
            cpu.append(100 * (cpu_seconds(pid) - before) / (time.monotonic() - began))
            resident.append(resident_mib(pid))
            stale.append(_staleness(cluster, crowd, ours, namespace))
        back = [_reconnected(ours, crowd) for _ in range(RESTARTS)]
        ours.stop()
    what = f"{JOBS} live rendezvous, a report a second each"
    return [
        Figure("operator-streams", f"RSS with {what}", "MiB", Sample.of(resident), targets=(Target("max", at_most=300.0),)),
        Figure("operator-streams-cpu", f"CPU with {what}", "% of a core", Sample.of(cpu)),
        Figure(
            "operator-streams-reconnect",
            f"restart → all {JOBS} streams stand",
            "s",
            Sample.of(back),
            targets=(Target("max", at_most=10.0),),
        ),
        Figure(
            "operator-streams-stale",
            f"age of the stalest status with {what}",
            "s",
            Sample.of(stale),
            targets=(Target("max", at_most=15.0),),
        ),
    ]


def _staleness(cluster: World, crowd: Crowd, ours: Ours, namespace: str) -> float:
    """Seconds: a step is a second."""
    step = crowd.step()  # before the list, so that what the list itself takes makes no status stale
    jobs = cluster.rest("GET", ours.path(namespace)).body["items"]
    return step - min(job["status"].get("step", 0) for job in jobs)


def _reconnected(ours: Ours, crowd: Crowd) -> float:
    ours.stop()
    until("no stream stands", lambda: crowd.standing() == 0)
    began = time.monotonic()
    ours.begin()
    until("all streams stand", crowd.all_stand, 180)
    return time.monotonic() - began


def _wait(seconds: float) -> None:
    """Let a time pass: it is a part of what is measured."""
    asyncio.run(asyncio.sleep(seconds))
