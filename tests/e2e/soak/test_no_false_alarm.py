"""A job trains on little CPU time and over a long way. Nobody is taken for lost, no group is formed anew, no memory grows.

Both faults are measured: the kernel counts the periods in which it held a pod up, and a handshake over the way is timed. `make soak`
soaks for an hour, or for SOAK_SECONDS; what was seen is in build/soak/.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.layout import NODES
from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from e2e.cluster.release import NAMESPACE
from e2e.soak.groups import Group, Throttling, throttled
from e2e.soak.long_way import long_way, round_trip_ms
from e2e.soak.memory import Course
from local_job import ROOT, until

SECONDS = float(os.environ.get("SOAK_SECONDS") or 180)
SAMPLE_SECONDS = 2.0
SHARES = {"operator": 0.02, "rendezvous": 0.02}
"""Of one processor: about what each would use at its busiest moments, so that it is held up again and again."""
WORKERS_SHARE, WORKERS_SECONDS = 0.5, 10.0
"""The workers', of what they use without a limit: that is another on every machine."""
LEAST_MS, MOST_MS = 10.0, 30.0
"""Each way between the nodes."""
SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"batch.trainingjob.dev/job": "soaks", "batch.trainingjob.dev/role": "worker"}},
    }
]
"""So that some workers are far from others in every run."""
ALARMS = ("WorkerLost", "WorkerReplaced", "RendezvousReplaced", "Recovered", "NewAttempt")
PORT = 29400


@dataclass
class Soak:
    """What is seen of the parts."""

    groups: dict[str, Group]
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Part -> (seconds, MiB)."""

    def shares(self) -> dict[Group, float]:
        """What each part is held to; looks for a while at what the workers use."""
        workers = {group for name, group in self.groups.items() if name.startswith("worker-")}
        before, began = {group: group.used() for group in workers}, time.monotonic()
        threading.Event().wait(WORKERS_SECONDS)
        seconds = (time.monotonic() - began) / WORKERS_SHARE
        fixed = {group: SHARES[name.partition("-")[0]] for name, group in self.groups.items() if group not in workers}
        return fixed | {group: (group.used() - used) / seconds for group, used in before.items()}

    def look(self, seconds: float) -> None:
        """Take a sample of each process' memory."""
        for name, group in self.groups.items():
            for program, mib in group.resident().items():
                self.memory.setdefault(f"{name} {program}", []).append((seconds, mib))

    def throttling(self) -> dict[str, Throttling]:
        """Of each part."""
        return {name: group.throttling() for name, group in self.groups.items()}

    def courses(self) -> dict[str, Course]:
        """Of each process."""
        return {name: Course.of(samples) for name, samples in self.memory.items()}


def pods(job: ClusterJob) -> dict[str, dict[str, Any]]:
    """The pods of a job, and of all operators, by what they are."""
    found = job.kube.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=trainingjob-operator")
    operators = {f"operator-{pod['metadata']['name'].rpartition('-')[2]}": pod for pod in found}
    (rendezvous,) = job.pods("rendezvous").values()
    label = "batch.trainingjob.dev/worker-index"
    workers = {f"worker-{pod['metadata']['labels'][label]}": pod for pod in job.pods().values()}
    return operators | {"rendezvous": rendezvous} | workers


def identities(job: ClusterJob) -> dict[str, tuple[str, int]]:
    """What a false alarm would change: uid of each pod, restarts of its container; who leads, and how often that has changed."""
    leases = {lease["metadata"]["name"]: lease["spec"] for lease in job.kube.items("leases", "-n", NAMESPACE)}
    leads = {name: (spec["holderIdentity"], spec.get("leaseTransitions", 0)) for name, spec in leases.items()}
    return leads | {
        name: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for name, pod in pods(job).items()
    }


def told(job: ClusterJob) -> dict[str, Any]:
    """What a false alarm would change in the status."""
    status = job.status()
    return {name: status[name] for name in ("attempt", "rendezvous", "workers", "restarts", "failures", "display")} | {
        "display": status["display"]["workers"]
    }


def round_trips(job: ClusterJob, count: int) -> list[float]:
    """Milliseconds from one node to pods of the other and back."""
    (pod,) = job.pods("rendezvous").values()
    (away,) = (node for node in NODES if node.name != pod["spec"]["nodeName"])
    return [round_trip_ms(away, pod["status"]["podIP"], PORT) for _ in range(count)]


@pytest.mark.timeout(SECONDS + 400)
@pytest.mark.steady
def test_slowness_is_not_taken_for_loss(own_cluster: Kube, installed: Kube, make: Make) -> None:
    job = make("soaks", training__epochs=10**6, workers__template__topologySpreadConstraints=SPREAD)
    job.apply()
    job.commits(100)
    until("all three train", lambda: job.status()["display"]["workers"] == "3/3")
    lines = rendezvous_log(job)
    before, stands, near = told(job), identities(job), round_trips(job, 5)
    soak = Soak({name: Group.of(pod) for name, pod in pods(job).items()})
    with long_way(LEAST_MS, MOST_MS) as carried, throttled(soak.shares()):
        at, step, counted = time.monotonic(), job.step(), soak.throttling()
        while (seconds := time.monotonic() - at) < SECONDS:
            soak.look(seconds)
            threading.Event().wait(SAMPLE_SECONDS)
        far, held, steps = round_trips(job, 5), soak.throttling(), job.step() - step
    courses = soak.courses()
    periods = {name: (held[name].periods - counted[name].periods, held[name].throttled - counted[name].throttled) for name in held}
    record(
        {
            "seconds": round(seconds, 1),
            "steps": steps,
            "round_trip_ms": {"before": near, "during": far},
            "packets": carried,
            "throttled_periods": periods,
            "memory": {name: course.to_object() | {"samples": soak.memory[name]} for name, course in courses.items()},
            "rendezvous": rendezvous_log(job)[len(lines) :],
        }
    )
    # The faults fired.
    assert min(far) > LEAST_MS
    assert statistics.median(far) > statistics.median(near)
    assert carried[0] > 10 * SECONDS
    operators = sum(late for name, (_, late) in periods.items() if name.startswith("operator-"))
    assert operators > 0.1 * SECONDS, periods  # of ten periods a second; a standby has little to do
    assert all(late > 0.2 * SECONDS for name, (_, late) in periods.items() if not name.startswith("operator-")), periods
    # Nothing came of it.
    assert steps > 0
    assert told(job) == before
    assert identities(job) == stands
    assert not set(ALARMS) & set(job.events()), job.events()
    assert [line for line in rendezvous_log(job)[len(lines) :] if is_alarm(line)] == []
    assert {name for name, course in courses.items() if "trainer" not in name and not course.is_flat()} == set(), courses


def rendezvous_log(job: ClusterJob) -> list[str]:
    """The lines of the rendezvous."""
    (name,) = job.pods("rendezvous")
    return job.kubectl("logs", name).splitlines()


def is_alarm(line: str) -> bool:
    """The rendezvous tells of something other than its own pauses, and what is saved."""
    return not any(word in line for word in (": paused for", ": commit of step", ": log: entry"))


def record(seen: dict[str, Any]) -> None:
    """Write down what was seen, whatever is made of it."""
    folder = ROOT / "build" / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{SECONDS:.0f}-seconds.json").write_text(json.dumps(seen, indent=2) + "\n")
