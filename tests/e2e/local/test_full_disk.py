"""The disk fills while a job trains: the one on which its checkpoints, its logs and its state lie, as they do by default.

Oracles: the kernel says that nothing is free; the job's log in storage says what is saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from digits_job import digits
from e2e.local.disks import Disk, disk, is_possible
from local_job import LocalJob

pytestmark = [pytest.mark.timeout(280), pytest.mark.skipif(not is_possible(), reason="mounting a small disk needs CAP_SYS_ADMIN")]

MEBIBYTES = 8
EVERY = 50
FULL = r"worker [01]: \S+: No space left on device\. Make room, or lower spec\.checkpoint\.keep"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "disk", MEBIBYTES) as made:
        yield made


def on(small: Disk, epochs: int) -> LocalJob:
    """A job whose state and storage lie on the disk; its terminal does not."""
    job = LocalJob(
        small.path.parent / "job",
        digits(workers={"replicas": 2, "minReplicas": 2}, training__epochs=epochs, checkpoint__everySteps=EVERY),
    )
    job.state, job.storage = small.path / "state", small.path / "storage"
    job.manifest["spec"]["checkpoint"]["storage"]["uri"] = job.storage.as_uri()
    job.write()
    return job


def failing(job: LocalJob) -> str:
    found = job.condition("StorageFailing")
    return str(found["message"]) if found.get("status") == "True" else ""


def newest(job: LocalJob) -> int:
    """The newest checkpoint, by its entry in storage, whose objects are there."""
    entry = [entry for entry in job.log() if entry["kind"] == "checkpoint"][-1]
    manifest = json.loads((job.storage / "saves" / entry["save"] / "manifest.json").read_text())
    for shard in manifest["shards"]:
        assert (job.storage / "saves" / entry["save"] / shard["name"]).stat().st_size == shard["bytes"]
    return int(entry["step"])


def saved_at(job: LocalJob) -> datetime:
    entry = [entry for entry in job.log() if entry["kind"] == "checkpoint"][-1]
    return datetime.fromtimestamp(entry["time"], UTC)


def test_a_disk_that_fills_costs_no_step_is_told_and_forgiven(small: Disk) -> None:
    job = on(small, epochs=100_000)
    with job.running() as run:
        run.until("checkpoints", lambda: job.status().get("checkpoint", 0) >= 2 * EVERY)
        trainers = job.trainers()
        small.fill()
        message = run.until("it is told", lambda: failing(job), 30.0)
        kept, moment = newest(job), saved_at(job)
        run.until_step(kept + 4 * EVERY)
        assert small.free() < 64 << 10
        status = job.status()
        shown = job.command("describe", job.name).stdout
        assert re.match(rf"{FULL}; the newest checkpoint is step \d+, saved at {moment:%H:%M}:\d\d UTC; training goes on", message)
        assert (newest(job), status["checkpoint"], status["phase"]) == (kept, kept, "Running")
        assert datetime.fromisoformat(status["lastCheckpointTime"]) == moment
        assert job.trainers() == trainers
        assert f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" in shown
        assert f"the newest checkpoint is step {kept}" in " ".join(shown.split())

        small.make_room()
        run.until("a new checkpoint", lambda: newest(job) > kept)
        run.until("it is taken back", lambda: not failing(job))
        assert run.until("the status has it", lambda: job.status()["checkpoint"] > kept)

        small.fill()
        run.until("it is told again", lambda: failing(job), 30.0)
        kept = newest(job)
        run.until_step(kept + 4 * EVERY)
        run.interrupt()
        run.until("they wait for storage", lambda: job.status()["phase"] == "Suspending")
        run.interrupt()
        ended = run.ends(60.0)
    step = job.status()["step"]
    assert (ended.returncode, newest(job)) == (130, kept)
    lost = f"stopped at step {step}; the newest checkpoint in storage is step {kept}; steps {kept + 1} to {step} are lost"
    assert f"ended at once; {lost}" in ended.stdout
    assert "Logging error" not in ended.stdout
    assert "saved at step" not in ended.stdout
    assert job.processes() == []
    assert not (job.storage / "export").exists()
    assert job.status().get("model") is None
    assert [event["reason"] for event in job.events() if event["reason"].startswith("Storage")] == [
        "StorageFails",
        "StorageWorks",
        "StorageFails",
    ]


def test_a_job_whose_end_finds_the_disk_full_claims_no_model_until_there_is_one(small: Disk) -> None:
    job = on(small, epochs=40)
    with job.running() as run:
        run.until("a checkpoint", lambda: job.status().get("checkpoint", 0) >= EVERY)
        small.fill()
        run.until("the end waits for room", lambda: job.condition("Ready").get("reason") == "WaitingForStorage", 120.0)
        kept, status, shown = newest(job), job.status(), job.command("get", job.name, "-o", "wide").stdout
        assert (status["step"], status["checkpoint"]) == (status["totalSteps"], kept)
        assert status["phase"] != "Succeeded"
        assert status.get("model") is None
        for text in (shown, (job.folder / "run.log").read_text()):
            assert "No space left on device" in text
            assert "in storage" not in text.replace(f"checkpoint {kept} is in storage", "")
        small.make_room()
        ended = run.ends(120.0)
    assert ended.returncode == 0, ended.stdout
    status = job.status()
    assert (status["phase"], status["checkpoint"], status.get("restarts", 0)) == ("Succeeded", status["totalSteps"], 0)
    assert (job.model() / "model.safetensors").stat().st_size > 0
