"""The main job with its checkpoints on a real S3 server that verifies every payload's hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from digits_job import digits
from local_job import LocalJob

pytestmark = pytest.mark.timeout(420)


def objects(server, bucket) -> dict[str, int]:
    listed = server.client().list_objects_v2(Bucket=bucket.name, Prefix="jobs/digits/")
    return {entry["Key"].removeprefix("jobs/digits/"): entry["Size"] for entry in listed.get("Contents", [])}


def entries(server, bucket) -> list[dict]:
    """The job's log, read by a client of another make."""
    keys = sorted(key for key in objects(server, bucket) if key.startswith("log/"))
    client = server.client()
    return [json.loads(client.get_object(Bucket=bucket.name, Key=f"jobs/digits/{key}")["Body"].read()) for key in keys]


def test_a_job_saves_to_s3_stops_and_resumes_from_there(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.open_to(monkeypatch)
    manifest = digits(training__epochs=25)
    manifest["spec"]["checkpoint"]["storage"] = bucket.storage(credentialsSecretName="s3-credentials")
    job = LocalJob(tmp_path, manifest)
    with job.running() as run:
        run.until("a checkpoint on the server", lambda: [entry for entry in entries(server, bucket) if entry["kind"] == "checkpoint"])
        run.interrupt()
        assert run.ends().returncode == 130
    saved = [entry["step"] for entry in entries(server, bucket) if entry["kind"] == "checkpoint"][-1]
    ended = job.run()
    assert ended.returncode == 0, ended.stdout
    log = entries(server, bucket)
    assert [entry["kind"] for entry in log if entry["kind"] in ("fence", "done")] == ["fence", "fence", "done"]
    assert saved in [entry["step"] for entry in log if entry["kind"] == "checkpoint"]
    assert any(key.startswith("export/") and key.endswith("model.safetensors") for key in objects(server, bucket))
    assert job.status()["metrics"]["accuracy"] >= 0.95
    secret = bucket.environ["AWS_SECRET_ACCESS_KEY"]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert written == [], "no secret is written down"


def test_wrong_credentials_fail_once_and_name_the_field(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.environ["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    manifest = digits()
    manifest["spec"]["checkpoint"]["storage"] = bucket.storage("x")
    ended = LocalJob(tmp_path, manifest).run()
    assert ended.returncode == 1, ended.stdout
    assert "spec.checkpoint.storage" in ended.stdout
    assert "Traceback" not in ended.stdout
