"""How soon an operator acts, with 1,000 pods of its jobs resident: from the audit log's timestamps, so that no operator is asked.

Created: 50 jobs of four pods, five a second; from the answer to a job's POST to the answer to the last POST of its pods. Replaced: a
hundred pods end, five a second; from the answer to the PATCH that says so to the arrival of the POST of another pod of that job. Each
operator has a cluster of its own. Kubeflow's makes its residents by the build with the raised limit, which is then measured, and after
it the installed one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.figure import Figure, Sample, Target
from bench.scale.load import burst, client, failures, paced
from bench.scale.operators import WORKERS, Kubeflow, Ours, Subject
from bench.scale.world import BARE, World, world
from integration.audit import AuditEvent
from local_job import until

RESIDENT_PODS = 1000
PER_SECOND = 5.0
CREATED, FAILED = 50, 100
_HALF = Target("ratio", at_most=0.5)


@dataclass(frozen=True)
class Delays:
    """Of one operator, milliseconds."""

    created: list[float]
    replaced: list[float]


def measure() -> list[Figure]:
    """Both delays, beside both of Kubeflow's."""
    with world() as cluster:
        ours = Ours(cluster)
        mine = _delays(cluster, ours, _residents(cluster, ours, RESIDENT_PODS // (WORKERS + 1)), "ours")
        ours.stop()
    with world() as cluster:
        tuned, theirs = Kubeflow(cluster, 16, raised=True), Kubeflow(cluster)
        residents = _residents(cluster, tuned, RESIDENT_PODS // WORKERS)
        found = {tuned.name: _delays(cluster, tuned, residents[:FAILED], "tuned")}
        tuned.stop()
        theirs.start()
        found[theirs.name] = _delays(cluster, theirs, residents[FAILED:], "theirs")
        theirs.stop()
    told = []
    for suffix, peer in (("", theirs.name), ("-tuned", tuned.name)):
        told.append(_figure(f"operator-latency{suffix}", "job created → last of its pods' POSTs", mine.created, peer, found[peer].created))
        what, soon = "pod failed → its replacement's POST", Target("p99", at_most=20.0)
        told.append(_figure(f"operator-latency-replaced{suffix}", what, mine.replaced, peer, found[peer].replaced, soon))
    return told


def _figure(name: str, what: str, mine: list[float], peer: str, theirs: list[float], *more: Target) -> Figure:
    return Figure(
        name, f"{what}, {RESIDENT_PODS} pods resident, {PER_SECOND:g}/s", "ms", Sample.of(mine), peer, Sample.of(theirs), (_HALF, *more)
    )


def _residents(cluster: World, subject: Subject, jobs: int) -> list[tuple[str, str]]:
    """Have so many jobs run; of each, a pod that trains (namespace, name)."""
    subject.start()
    namespace = cluster.namespace("resident")
    asyncio.run(burst(cluster, subject, namespace, jobs, WORKERS))
    pods = cluster.rest("GET", f"/api/v1/namespaces/{namespace}/pods", labelSelector=subject.selector).body["items"]
    one = {subject.job_of(pod["metadata"]["name"]): pod["metadata"]["name"] for pod in pods}
    return [(namespace, one[job]) for job in sorted(one, key=str)]


def _delays(cluster: World, subject: Subject, residents: Sequence[tuple[str, str]], name: str) -> Delays:
    namespace, mark = cluster.namespace(name), cluster.api.mark()
    asyncio.run(_create(cluster, subject, namespace))
    created = _created(cluster.api.audit(mark), subject, namespace)
    mark, chosen = cluster.api.mark(), residents[:FAILED]

    def replaced() -> dict[str, float]:
        return _replaced(cluster.api.audit(mark), subject)

    asyncio.run(_fail(cluster, subject, chosen))
    until("all pods are replaced", lambda: len(replaced()) == len(chosen), 240)
    return Delays(created, list(replaced().values()))


async def _create(cluster: World, subject: Subject, namespace: str) -> None:
    async with client(cluster, BARE) as user:

        def post(number: int) -> Any:
            return lambda: user.call("POST", subject.path(namespace), subject.job(f"job-{number}"))

        await paced(PER_SECOND, [post(number) for number in range(CREATED)])
        await user.running(namespace, subject.selector, CREATED * WORKERS)


async def _fail(cluster: World, subject: Subject, pods: Sequence[tuple[str, str]]) -> None:
    async with client(cluster, BARE) as user:
        await failures(user, subject, pods, PER_SECOND)


def _created(events: Sequence[AuditEvent], subject: Subject, namespace: str) -> list[float]:
    began: dict[str, float] = {}
    last: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event.verb != "create" or event.namespace != namespace or event.code != 201 or event.answered is None:
            continue
        job = subject.job_of(event.name)
        if event.user == BARE:
            began[event.name] = event.answered
        elif event.user == subject.user and event.resource == "pods" and job is not None:
            last[job] = max(last[job], event.answered)
    assert set(began) == set(last), "a job has got no pods"
    return [1000 * (last[job] - began[job]) for job in began]


def _replaced(events: Sequence[AuditEvent], subject: Subject) -> dict[str, float]:
    """Job -> milliseconds, of those whose pod has been replaced."""
    failed: dict[str, float] = {}
    found: dict[str, float] = {}
    for event in events:
        job = subject.job_of(event.name)
        if job is None:
            continue
        if event.user == BARE and event.resource == "pods/status" and event.answered is not None:
            failed[job] = event.answered
        elif event.user == subject.user and (event.verb, event.resource) == ("create", "pods") and job in failed:
            found.setdefault(job, 1000 * (event.received - failed[job]))
    return found
