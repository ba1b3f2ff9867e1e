"""What a user does with a job that has ended: mend it, train it further, start it anew. Each by the words that the command prints."""

from __future__ import annotations

import pytest

from digits_job import Make
from local_job import LocalJob

pytestmark = pytest.mark.timeout(300)
STEPS = 15
"""Of one epoch."""


def length(job: LocalJob, epochs: int) -> None:
    job.manifest["spec"]["training"]["epochs"] = epochs
    job.write()


def test_a_job_is_mended_then_trained_further_then_started_anew(make: Make) -> None:
    job = make(workers__replicas=1, workers__minReplicas=1, training__epochs=4)
    right = job.manifest["spec"]["training"]["task"]
    job.manifest["spec"]["training"]["task"] = {"class": "trainingjob_trainer.tasks.digits:Digit"}
    job.write()
    wrong = job.run()
    assert wrong.returncode == 1, wrong.stdout
    job.manifest["spec"]["training"]["task"] = right
    job.write()
    mended = job.run()
    assert mended.returncode == 0, mended.stdout
    assert job.status()["step"] == 4 * STEPS

    length(job, 6)
    further = job.run()
    assert further.returncode == 0, further.stdout
    status = job.status()
    assert (status["step"], status["totalSteps"], status["phase"]) == (6 * STEPS, 6 * STEPS, "Succeeded")
    assert [entry["attempt"] for entry in job.log() if entry["kind"] == "fence"] == [1, 2]
    assert [entry["step"] for entry in job.log() if entry["kind"] == "done"] == [4 * STEPS, 6 * STEPS]
    assert job.model().name.startswith(f"{6 * STEPS:08d}")
    assert f"trainingjob delete {job.name} --storage" in further.stdout

    assert job.command("delete", job.name).returncode == 0
    refused = job.run()
    assert refused.returncode == 2, refused.stdout
    assert "--fresh" in refused.stdout
    assert job.command("get", job.name).returncode == 2, "nothing was made"
    length(job, 1)
    anew = job.run("--fresh", "--yes")
    assert anew.returncode == 0, anew.stdout
    assert [entry["kind"] for entry in job.log()][:2] == ["claim", "fence"]
    assert job.checkpoints() == [STEPS]
