"""What a user asks of a running job by editing its manifest: suspend and resume, rollback."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.cluster.conftest import Make
from local_job import until


@pytest.mark.timeout(400)
def test_suspended_and_resumed_at_that_step(make: Make, long: dict[str, Any], undisturbed: str) -> None:
    job = make("suspends", **long)
    job.apply()
    job.commits(100)
    job.patch(suspend=True)
    status = job.phase("Suspended")
    saved = status["checkpoint"]
    assert saved >= status["step"] > 100, "what had been trained was saved"
    assert saved % 100, "not a checkpoint that was due anyway"
    until("its pods are gone", lambda: not job.kube.items("pods", "-n", job.namespace, "-l", f"batch.trainingjob.dev/job={job.name}"))
    job.patch(suspend=False)
    status = until("it trains again", lambda: (found := job.status())["phase"] == "Running" and found, 120)
    assert status["step"] >= saved
    log = job.kubectl("logs", job.worker(0))
    assert f"opened attempt 2 at step {saved}" in log
    job.succeeds()
    assert job.weights() == undisturbed
    assert {"Suspending", "Suspended", "Resumed"} <= set(job.events())


@pytest.mark.timeout(400)
def test_rolled_back_in_place(make: Make, long: dict[str, Any], undisturbed: str) -> None:
    job = make("rolls-back", **long)
    job.apply()
    job.commits(400)
    pods, processes = job.uids(), {pod: job.processes(pod) for pod in job.pods()}
    job.manifest["spec"]["rollback"] = {"toStep": 200, "request": "back-to-200"}
    assert "configured" in job.apply()
    status = until("it is done", lambda: (found := job.status()).get("lastRollbackRequest") == "back-to-200" and found, 120)
    assert status["attempt"] == 2
    assert status["restore"]["step"] == 200
    assert max(status["checkpoints"]) < 400 or status["step"] >= 400, "the later checkpoints are out of sight until they are made anew"
    assert job.uids() == pods, "no pod was replaced"
    assert {pod: job.processes(pod) for pod in pods} == processes, "no process was started"
    assert "unchanged" in job.apply()
    job.reaches(job.step() + 200)
    assert job.status()["attempt"] == 2, "the same manifest again does nothing"
    job.succeeds()
    assert job.weights() == undisturbed
    told = job.events()
    assert any("back-to-200" in message for message in told["RolledBack"])
