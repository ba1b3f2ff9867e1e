"""The operator is killed in every phase of a job. The fault fired: the phase stands in the status when no operator lives any more. The
result is that of an undisturbed run, no pod was made twice, and who survives is let alone.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.cluster import damage, release
from e2e.cluster.conftest import Make
from e2e.cluster.job import KIND, ClusterJob
from e2e.cluster.kube import Kube
from local_job import until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def hasty(own_cluster: Kube) -> Iterator[Kube]:
    """The cluster, whose operators take each other for dead sooner than usual."""
    release.install(own_cluster, **{"config.leaseSeconds": 5})
    yield own_cluster
    release.install(own_cluster)


@pytest.fixture
def job(hasty: Kube, make: Make, slow: dict[str, Any]) -> ClusterJob:
    """One that waits for all of its workers, so that its bits are those of an undisturbed run."""
    return make(f"loses-operator-{secrets.token_hex(2)}", workers__minReplicas=3, **slow)


def test_killed_while_it_starts_runs_and_recovers(job: ClusterJob, undisturbed: str) -> None:
    began = job.kube.mark()
    killed_in(job, "Starting", job.apply)
    job.commits(200)
    pods, survivors = job.uids(), {pod: job.processes(pod) for pod in (job.worker(0), job.worker(2))}
    lost = job.worker(1)
    killed_in(job, "Recovering", lambda: job.delete_pod(lost, "--force", "--grace-period=0"), [0, 1, 0])
    killed_in(job, "Running")
    assert {pod: job.processes(pod) for pod in survivors} == survivors, "the survivors' processes are the same ones"
    assert {pod: uid for pod, uid in job.uids().items() if pod in survivors} == {pod: pods[pod] for pod in survivors}
    status = job.succeeds()
    assert job.weights() == undisturbed
    assert (status["attempt"], status["workers"], status["rendezvous"]["epoch"]) == (1, [0, 1, 0], 1)
    assert made(job, began) == ["rendezvous-1", "worker-0-0", "worker-1-0", "worker-1-1", "worker-2-0"], "each pod once"


def test_killed_while_it_rolls_back(job: ClusterJob, undisturbed: str) -> None:
    job.apply()
    job.commits(200)
    before = job.uids()
    killed_in(job, "RollingBack", lambda: job.patch(rollback={"toStep": 100, "request": "back"}))
    status = until("it is done", lambda: (found := job.status()).get("lastRollbackRequest") == "back" and found)
    assert status["attempt"] == 2
    status = job.succeeds()
    assert job.weights() == undisturbed
    assert (status["attempt"], status["workers"]) == (2, [0, 0, 0])
    assert before.items() >= {pod: uid for pod, uid in job.uids().items() if "-worker-" in pod}.items(), "no pod was replaced"


def test_killed_while_it_is_suspended_resumed_and_ended(job: ClusterJob, undisturbed: str) -> None:
    began = job.kube.mark()
    job.apply()
    job.commits(200)
    killed_in(job, "Suspending", lambda: job.patch(suspend=True))
    killed_in(job, "Suspended")
    saved = job.status()["checkpoint"]
    killed_in(job, "Starting", lambda: job.patch(suspend=False))
    job.reaches(saved + 100)
    kill_in(job, "Running")
    operators, at = damage.scale(job.kube, 0), job.status()
    until("it is finished without an operator", lambda: "done" in [entry["kind"] for entry in job.log()], 120)
    assert job.status() == at, "nobody has told of it"
    damage.scale(job.kube, operators)
    status = job.succeeds()
    assert job.weights() == undisturbed
    assert (status["attempt"], status["workers"], status["rendezvous"]["epoch"]) == (2, [1, 1, 1], 2)
    assert status.get("failures", 0) == 0
    assert [entry["kind"] for entry in job.log()].count("done") == 1
    workers = ["worker-0-0", "worker-0-1", "worker-1-0", "worker-1-1", "worker-2-0", "worker-2-1"]
    assert made(job, began) == ["rendezvous-1", "rendezvous-2", *workers], "each pod once"


def killed_in(job: ClusterJob, phase: str, provoke: Callable[[], object] = lambda: None, workers: list[int] | None = None) -> None:
    """Kill the operators as `kill_in`, and have others."""
    kill_in(job, phase, provoke, workers)
    damage.another_operator(job.kube)


def kill_in(job: ClusterJob, phase: str, provoke: Callable[[], object] = lambda: None, workers: list[int] | None = None) -> None:
    """Kill all operators as soon as the job's status says `phase` after `provoke`, and names these incarnations."""
    victims = damage.operators(job.kube)
    path = r"jsonpath={.metadata.name} {.status.phase} {.status.workers}{'\n'}"
    words = ["kubectl", "-n", job.namespace, "get", KIND, "-w", "-o", path]
    with subprocess.Popen(words, env=dict(job.kube.environ), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        provoke()
        try:
            assert any(_says(line, job.name, phase, workers) for line in watch.stdout)
            damage.kill(victims)
        finally:
            watch.kill()
    assert job.status()["phase"] == phase


def _says(line: str, name: str, phase: str, workers: list[int] | None) -> bool:
    words = line.split()
    return words[:2] == [name, phase] and (workers is None or json.loads(words[2]) == workers)


def made(job: ClusterJob, since: int) -> list[str]:
    """The pods of the job that were created since then, without what is the same in all their names."""
    created = [line for line in job.kube.audit(since) if line["verb"] == "create" and line["responseStatus"]["code"] == 201]
    targets = [line["objectRef"] for line in created if line["objectRef"].get("namespace") == job.namespace]
    names = [target["name"] for target in targets if target["resource"] == "pods" and "subresource" not in target]
    return sorted(name.removeprefix(f"{job.name}-").partition("-")[2] for name in names if name.startswith(f"{job.name}-"))
