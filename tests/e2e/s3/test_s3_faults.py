"""An S3 server that does not do what checkpoints need: told once, by the field's name, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from digits_job import digits
from e2e.s3.faulty import FaultyS3
from local_job import LocalJob

pytestmark = pytest.mark.timeout(300)


def job_on(endpoint: str, bucket: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, epochs: int = 2) -> LocalJob:
    bucket.open_to(monkeypatch)
    manifest = digits(workers__replicas=1, workers__minReplicas=1, training__epochs=epochs)
    manifest["spec"]["checkpoint"]["storage"] = bucket.storage(endpointUrl=endpoint)
    return LocalJob(folder, manifest)


def fails(job: LocalJob) -> str:
    """It ends at once, and once; what it says."""
    ended = job.run()
    assert ended.returncode == 1, ended.stdout
    assert "Traceback" not in ended.stdout
    failed = job.condition("Failed")
    assert failed["reason"] == "UserError"
    assert job.status().get("step") is None
    assert [event["reason"] for event in job.events()].count("WorkerLost") <= 1
    message: str = failed["message"]
    return message


def test_a_proxy_without_a_fault_is_as_the_server(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server) as proxy:
        ended = job_on(proxy.endpoint, bucket, tmp_path, monkeypatch).run()
    assert ended.returncode == 0, ended.stdout


def test_a_server_that_overwrites_what_is_to_be_created(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server, overwrites=True) as proxy:
        message = fails(job_on(proxy.endpoint, bucket, tmp_path, monkeypatch))
    assert proxy.fired >= 2
    assert message.startswith("worker 0: spec.checkpoint.storage.uri: the store at s3://")
    assert "overwrites an object that it was asked to create only if absent" in message
    assert "Use a store" in message
    assert server.client().list_objects_v2(Bucket=bucket.name, Prefix="jobs/digits/log/").get("KeyCount") == 0, "no log was begun"


def test_a_server_that_refuses_writes(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server, refuses=lambda method, path: method == "PUT") as proxy:
        message = fails(job_on(proxy.endpoint, bucket, tmp_path, monkeypatch))
    assert proxy.fired >= 1
    assert message.startswith("worker 0: spec.checkpoint.storage")
    assert "AccessDenied" in message or "403" in message


def test_checkpoints_that_are_refused_cost_no_step_and_the_end_waits_for_the_store(
    server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["/saves/", "/export/"]

    def refuses(method: str, path: str) -> bool:
        return method == "PUT" and any(part in path for part in broken)

    with FaultyS3(server, refuses=refuses) as proxy:
        job = job_on(proxy.endpoint, bucket, tmp_path, monkeypatch, epochs=5)
        with job.running() as run:
            run.until("the last step is done", lambda: job.status().get("display", {}).get("progress") == "100%", seconds=120)
            run.until("the last checkpoint is tried again", lambda: "trying again" in output(job))
            assert job.status().get("restarts", 0) == 0
            shards = run.until("the refusal is told", lambda: trouble(job))
            del broken[0]
            model = run.until("the model is refused", lambda: "/export/" in (found := trouble(job)) and found)
            broken.clear()
            ended = run.ends()
    assert ended.returncode == 0, ended.stdout
    assert proxy.fired >= 2
    assert job.status()["restarts"] == 0
    assert trouble(job) == ""
    assert "/saves/" in shards
    for message in (shards, model):
        assert message.startswith("worker 0: spec.checkpoint.storage: the store refuses s3://")
        assert message.endswith("may list, read, write and delete there"), "nothing is cut off"


def trouble(job: LocalJob) -> str:
    """What the condition StorageFailing says, while it is true."""
    found = job.condition("StorageFailing")
    return str(found["message"]) if found.get("status") == "True" else ""


def output(job: LocalJob) -> str:
    """What the workers have printed."""
    return "".join(path.read_text() for path in (job.own / "pods").glob("*worker*.log"))
