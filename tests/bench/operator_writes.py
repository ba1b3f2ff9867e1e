"""What a job costs the API server and the operator: writes while it is set up, reads and writes in an hour of running; CPU and memory.

Counted from the API server's audit log by the operator's own user; events and leases are left out. Set-up ends when all pods run and no
write has come for some seconds. Then every job trains for a minute and reports another step every second (bench.scale.rendezvous), and
what came in that minute is told for an hour. Once in five minutes the operator lists the jobs' metadata, one request for all jobs
together: it is not in that minute, and is no job's. Kubeflow's learns nothing from running pods, so that in its minute nothing happens.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.figure import Figure, Sample, Target
from bench.scale.crowd import Crowd
from bench.scale.load import burst
from bench.scale.operators import WORKERS, Kubeflow, Ours, Subject
from bench.scale.usage import cpu_seconds, resident_mib
from bench.scale.world import World, world
from integration.audit import AuditEvent
from local_job import until

JOBS = 50
RUNNING_SECONDS = 60.0
QUIET_SECONDS = 5.0
READS = frozenset({"get", "list"})
_UNCOUNTED = frozenset({"events", "leases"})


@dataclass(frozen=True)
class Cost:
    """Of one operator."""

    writes: float
    """A job's set-up."""
    reads: float
    """An hour of a job's running."""
    status_writes: float
    """An hour of a job's running."""
    cpu: float
    """Milliseconds, a job's set-up."""
    resident: float
    """MiB, at the end."""


def measure() -> list[Figure]:
    """All costs."""
    with world() as cluster:
        mine = _cost(cluster, Ours(cluster), reports=True)
        theirs_of = Kubeflow(cluster)
        theirs = _cost(cluster, theirs_of, reports=False)

    def figure(suffix: str, what: str, unit: str, field: str, *targets: Target) -> Figure:
        ours, peer = (Sample.of([getattr(cost, field)]) for cost in (mine, theirs))
        return Figure(f"operator-writes{suffix}", what, unit, ours, theirs_of.name, peer, targets)

    pods = f"a job of {WORKERS} pods"
    return [
        figure("", f"API writes to set up {pods}, events left out", "writes", "writes"),
        figure("-reads", "API reads for a job in an hour of running", "reads", "reads", Target("max", at_most=0.0)),
        figure("-hour", "status writes of a job in an hour of running", "writes", "status_writes", Target("max", at_most=360.0)),
        figure("-cpu", f"CPU to set up {pods}", "ms", "cpu"),
        figure("-memory", f"RSS with {JOBS} jobs of {WORKERS} pods", "MiB", "resident"),
    ]


def _cost(cluster: World, subject: Subject, *, reports: bool) -> Cost:
    pid = subject.start()
    namespace = cluster.namespace("cost")
    mark, cpu = cluster.api.mark(), cpu_seconds(pid)
    asyncio.run(burst(cluster, subject, namespace, JOBS, WORKERS))
    _quiet(cluster, subject)
    used = cpu_seconds(pid) - cpu
    setting_up = _counted(cluster.api.audit(mark), subject)
    if reports:
        crowd = Crowd(cluster)
        until("all streams stand", crowd.all_stand)
        _wait(2 * QUIET_SECONDS)  # the first reports change more than figures
    mark, began = cluster.api.mark(), time.time()
    _wait(RUNNING_SECONDS)
    minute = [event for event in cluster.api.audit(mark) if event.received <= began + RUNNING_SECONDS]  # to read the log takes its time
    running = _counted(minute, subject)
    resident = resident_mib(pid)
    subject.stop()
    cluster.remove(namespace)
    hours = JOBS * RUNNING_SECONDS / 3600
    return Cost(
        writes=sum(count for (verb, _), count in setting_up.items() if verb not in READS) / JOBS,
        reads=sum(count for (verb, _), count in running.items() if verb in READS) / hours,
        status_writes=sum(count for (verb, resource), count in running.items() if resource.endswith("/status")) / hours,
        cpu=1000 * used / JOBS,
        resident=resident,
    )


def _counted(events: Sequence[AuditEvent], subject: Subject) -> Counter[tuple[str, str]]:
    """(verb, resource) of what the operator has asked; a request that was refused counts too."""
    asked = (event for event in events if event.user == subject.user and event.verb != "watch")
    return Counter((event.verb, event.resource) for event in asked if event.resource not in _UNCOUNTED and event.namespace)


def _quiet(cluster: World, subject: Subject) -> None:
    """Wait until the operator has written nothing for a while."""

    def silent() -> bool:
        mark = cluster.api.mark()
        _wait(QUIET_SECONDS)
        return not _counted(cluster.api.audit(mark), subject)

    until("the operator has set up everything", silent, 120)


def _wait(seconds: float) -> None:
    """Let a time pass: it is a part of what is measured."""
    asyncio.run(asyncio.sleep(seconds))
