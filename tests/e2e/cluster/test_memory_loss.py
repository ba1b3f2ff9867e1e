"""The control plane forgets: a status is lost, the operator is uninstalled, the API server is away. Training knows better."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.cluster import damage, release
from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from local_job import until


@pytest.mark.timeout(400)
def test_the_status_is_lost_again_and_again(installed: Kube, make: Make, long: dict[str, Any], undisturbed: str) -> None:
    """As by a backup without statuses: while it runs, while nobody looks, and when it has ended. The log in storage fences."""
    job = make("loses-status", **long)
    job.apply()
    job.commits(200)
    job.lose_status()
    trains_in(job, 2)
    job.commits(600)
    operators = damage.scale(installed, 0)
    job.lose_status()
    assert job.status() == {}
    damage.scale(installed, operators)
    trains_in(job, 3)
    job.succeeds()
    assert job.weights() == undisturbed
    before = job.log()
    steps = [entry["step"] for entry in before if entry["kind"] == "checkpoint"]
    assert steps == sorted(set(steps)), "no step is committed twice"
    attempts = [entry["attempt"] for entry in before]
    assert attempts == sorted(attempts)
    assert max(attempts) == 3

    job.lose_status()
    until("it has begun again", lambda: job.status().get("attempt"))
    status = job.succeeds()
    assert job.log() == before, "there was nothing to do"
    assert job.weights() == undisturbed
    assert status["checkpoint"] == steps[-1]


@pytest.mark.timeout(400)
def test_an_operator_that_is_installed_again_finds_its_jobs(own_cluster: Kube, make: Make, slow: dict[str, Any], undisturbed: str) -> None:
    job = make("loses-release", **slow)
    job.apply()
    saved = job.commits(200)
    pods, processes = job.uids(), {pod: job.processes(pod) for pod in job.pods()}
    own_cluster.run("helm", "uninstall", release.RELEASE, "-n", release.NAMESPACE, "--wait")
    try:
        until("no operator is left", lambda: not damage.operators(own_cluster))
        told = job.status()
        until("it trains on", lambda: max(job.committed()) >= saved + 300, 120)
        assert job.status() == told, "and nobody tells of it"
    finally:
        release.install(own_cluster)
    until("it is told", lambda: job.status()["checkpoint"] > told["checkpoint"] and job.status()["phase"] in ("Running", "Succeeded"))
    assert job.uids() == pods
    assert {pod: job.processes(pod) for pod in pods} == processes
    status = job.succeeds()
    assert (status["attempt"], status["workers"], status["rendezvous"]["epoch"]) == (1, [0, 0, 0], 1)
    assert job.weights() == undisturbed


@pytest.mark.timeout(400)
def test_the_api_server_is_away_and_nothing_is_restarted(own_cluster: Kube, make: Make, slow: dict[str, Any], undisturbed: str) -> None:
    job = make("loses-api-server", **slow)
    job.apply()
    saved = job.commits(200)
    before, processes = job.lives(), {pod: job.processes(pod) for pod in job.pods()}
    assert len(before) == 4
    with damage.without_api_server():
        until("it trains on", lambda: max(job.committed()) >= saved + 300, 120)
    until("it is told", lambda: (job.status().get("checkpoint") or 0) >= saved + 300, 60)
    assert job.lives() == before, "no pod was made, lost or started anew"
    assert {pod: job.processes(pod) for pod in job.pods()} == processes
    status = job.succeeds()
    assert (status["attempt"], status["workers"], status["rendezvous"]["epoch"]) == (1, [0, 0, 0], 1)
    assert job.weights() == undisturbed


def trains_in(job: ClusterJob, attempt: int) -> None:
    """Wait until steps are taken in this attempt."""
    until(
        f"attempt {attempt} trains",
        lambda: (found := job.status()).get("attempt") == attempt == found.get("openedAttempt") and found["phase"] == "Running",
        120,
    )
