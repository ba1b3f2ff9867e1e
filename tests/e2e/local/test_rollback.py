"""Going back: on request, while the job runs or after it has finished, and around a corrupt checkpoint."""

from __future__ import annotations

import pytest

from digits_job import Make, weights
from local_job import LocalJob

pytestmark = pytest.mark.timeout(420)


def test_a_running_job_is_rolled_back_in_place(make: Make, undisturbed: LocalJob) -> None:
    job = make(checkpoint__keep=2, checkpoint__everySteps=20)  # the older one is gone in half a second, were it not pinned
    with job.running() as run:
        run.until("two checkpoints", lambda: len(job.checkpoints()) >= 2)
        before = job.trainers()
        asked = job.command("rollback", job.name, "--to-step", "previous")
        assert asked.returncode == 0, asked.stderr
        assert "training went on from checkpoint" in asked.stderr
        run.until("the rollback is in the log", lambda: [entry for entry in job.log() if entry["kind"] == "rollback"])
        run.until("the job says that it is done", lambda: job.status().get("lastRollbackRequest"))
        assert job.trainers() == before, "the living processes restore in place"
        assert run.ends().returncode == 0
    (pin,) = [entry for entry in job.log() if entry["kind"] == "pin"]
    (rollback,) = [entry for entry in job.log() if entry["kind"] == "rollback"]
    assert rollback["step"] == pin["step"]
    before_it = [entry["step"] for entry in job.log()[: pin["seq"]] if entry["kind"] == "checkpoint"]
    assert pin["step"] == before_it[-2]
    assert weights(job) == weights(undisturbed), "from there it is a run that never went further"
    assert job.status()["attempt"] == 2


def test_a_finished_job_is_rolled_back_and_trains_to_the_same_end(make: Make) -> None:
    job = make(training__epochs=15)
    assert job.run().returncode == 0
    first, target = weights(job), job.checkpoints()[-2]
    asked = job.command("rollback", job.name, "--to-step", str(target))
    assert asked.returncode == 0, asked.stderr
    assert job.run().returncode == 0
    assert weights(job) == first
    kinds = [entry["kind"] for entry in job.log()]
    assert kinds.count("done") == 2
    assert kinds.count("rollback") == 1


def test_a_step_that_was_never_saved_is_refused_with_those_that_were(make: Make) -> None:
    job = make(training__epochs=15)
    with job.running() as run:
        run.until("a checkpoint", job.checkpoints)
        job.command("rollback", job.name, "--to-step", "7")
        assert run.ends().returncode == 0
    text = job.command("describe", job.name).stdout
    assert "7" in text
    assert not [entry for entry in job.log() if entry["kind"] == "rollback"]


def test_a_corrupt_newest_checkpoint_is_found_and_the_one_before_is_used(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until("two checkpoints", lambda: len(job.checkpoints()) >= 2)
        run.interrupt()
        assert run.ends().returncode == 130
    newest, before = job.checkpoints()[-1], job.checkpoints()[-2]
    (folder,) = (job.storage / "saves").glob(f"{newest:08d}-*")
    shard = max(folder.glob("*.safetensors"))
    torn = bytearray(shard.read_bytes())
    torn[len(torn) // 2] ^= 1
    shard.chmod(0o600)
    shard.write_bytes(torn)
    with job.running() as run:
        assert run.ends().returncode == 0
    (quarantine,) = [entry for entry in job.log() if entry["kind"] == "quarantine"]
    assert quarantine["step"] == newest
    assert before < newest
    assert weights(job) == weights(undisturbed)
    assert str(newest) in job.command("checkpoints", job.name).stdout
