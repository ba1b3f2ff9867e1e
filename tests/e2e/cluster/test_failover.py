"""Pods are deleted while they train. The fault fired: another pod, under the next incarnation. The result is that of a run without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from local_job import until


@contextmanager
def running(make: Make, name: str, **changes: Any) -> Iterator[ClusterJob]:
    """A job that trains and has a checkpoint. As long as the block runs, its status may claim no more than is done."""
    job = make(name, **changes)
    job.apply()
    with job.witnessed():
        job.commits(100)
        yield job


def replaced(job: ClusterJob, index: int, incarnation: int) -> str:
    """Wait until a worker trains again in its slot; the new pod."""
    until(
        f"worker {index} is replaced",
        lambda: job.status()["workers"][index] == incarnation and job.status()["display"]["workers"] == "3/3",
        120,
    )
    return job.worker(index)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("index", [0, 2], ids=["rank-0", "another"])
def test_a_deleted_worker_comes_back_and_the_others_go_on(make: Make, long: dict[str, Any], undisturbed: str, index: int) -> None:
    with running(make, f"loses-{index}", **long) as job:
        survivors = [job.worker(other) for other in range(3) if other != index]
        before, lost = {pod: job.processes(pod) for pod in survivors}, job.worker(index)
        job.delete_pod(lost, *(["--force", "--grace-period=0"] if index else []))
        found = replaced(job, index, 1)
        assert found != lost
        assert {pod: job.processes(pod) for pod in survivors} == before, "the survivors' processes are the same ones"
        status = job.succeeds()
        assert status["workers"] == [int(other == index) for other in range(3)]
        assert status["attempt"] == 1, "nothing was read from storage"
        assert job.weights() == undisturbed
        events = job.events()
        assert any(f"worker {index}" in message for message in events["WorkerLost"])
        assert "WorkerReplaced" in events


@pytest.mark.timeout(400)
def test_the_rendezvous_is_deleted_and_training_goes_on(make: Make, long: dict[str, Any], undisturbed: str) -> None:
    with running(make, "loses-rendezvous", **long) as job:
        before, pods = {pod: job.processes(pod) for pod in job.pods()}, job.uids()
        (rendezvous,) = job.pods("rendezvous")
        job.delete_pod(rendezvous)
        until("there is another rendezvous", lambda: job.status()["rendezvous"] == {"epoch": 2, "seen": True})
        assert list(job.pods("rendezvous")) != [rendezvous]
        job.reaches(job.step() + 100)
        assert {pod: job.processes(pod) for pod in job.pods()} == before
        assert job.uids() == pods
        status = job.succeeds()
        assert status["workers"] == [0, 0, 0]
        assert status["attempt"] == 1
        assert job.weights() == undisturbed
        assert "RendezvousReplaced" in job.events()


@pytest.mark.timeout(400)
def test_all_pods_are_deleted_and_the_job_resumes_from_its_newest_checkpoint(make: Make, long: dict[str, Any], undisturbed: str) -> None:
    with running(make, "loses-all", **long) as job:
        saved = job.commits(300)
        old = job.uids()
        job.kubectl("delete", "pods", "-l", f"batch.trainingjob.dev/job={job.name}", "--force", "--grace-period=0", "--wait=false")
        status = until(
            "another attempt trains", lambda: (found := job.status())["attempt"] >= 2 and found["phase"] == "Running" and found, 120
        )
        assert not set(job.uids().values()) & set(old.values())
        assert status["step"] >= saved
        status = job.succeeds()
        assert job.weights() == undisturbed
        assert "NewAttempt" in job.events()
