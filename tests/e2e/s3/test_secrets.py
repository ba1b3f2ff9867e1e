"""No secret of a job is written, said or shown by anything that it leaves behind: on disk, in the bucket, in arguments, on the screen."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from digits_job import digits
from local_job import LocalJob

pytestmark = pytest.mark.timeout(420)
SIGNED = re.compile(rb"AWS4-HMAC-SHA256|X-Amz-Signature|X-Amz-Credential|Signature=")
HELD_BY = ("operator.key", "Secret")
"""Beginnings of the names of the only files that hold a secret, which only their owner can read."""


def forms(secrets: dict[str, str]) -> dict[str, bytes]:
    """Each secret as text and in base64, by name."""
    plain = {name: value.encode() for name, value in secrets.items()}
    return plain | {f"{name} in base64": base64.b64encode(value) for name, value in plain.items()}


def secrets_of(job: LocalJob, environ: dict[str, str]) -> dict[str, str]:
    """All that must not be seen: what the job was given, and what was made for it."""
    manifests = [json.loads(path.read_text()) for path in job.own.rglob("Secret*.json")]
    (made,) = (manifest["stringData"] for manifest in manifests)
    body = "".join(line for line in made["private-key"].splitlines() if not line.startswith("-----"))
    key = (job.state / "operator.key").read_text().strip()
    found = {"root key": key, "private key": body, "worker token": made["worker-token"], "operator token": made["operator-token"]}
    return found | {"access key": environ["AWS_ACCESS_KEY_ID"], "secret key": environ["AWS_SECRET_ACCESS_KEY"]}


def leaks(secrets: dict[str, bytes], shown: Iterator[tuple[str, bytes]]) -> list[str]:
    return [f"{name} in {place}" for place, text in shown for name, value in secrets.items() if value in text]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(HELD_BY):
            yield str(path), path.read_bytes()


def arguments(job: LocalJob) -> Iterator[tuple[str, bytes]]:
    for process in job.processes():
        with suppress(FileNotFoundError, ProcessLookupError):
            yield f"the arguments of {process.pid}", Path(f"/proc/{process.pid}/cmdline").read_bytes()


def objects(server: Any, bucket: Any) -> Iterator[tuple[str, bytes]]:
    client = server.client()
    for entry in client.list_objects_v2(Bucket=bucket.name).get("Contents", []):
        yield entry["Key"], client.get_object(Bucket=bucket.name, Key=entry["Key"])["Body"].read()


def commands(job: LocalJob) -> Iterator[tuple[str, bytes]]:
    for words in (["plan", str(job.file)], ["get"], ["describe", job.name], ["logs", job.name], ["checkpoints", job.name]):
        done = job.command(*words)
        assert done.returncode == 0, done.stderr
        yield f"trainingjob {words[0]}", (done.stdout + done.stderr).encode()


def test_a_job_on_s3_shows_no_secret_anywhere(server, bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.open_to(monkeypatch)
    manifest = digits(training__epochs=4)
    manifest["spec"]["checkpoint"]["storage"] = bucket.storage(credentialsSecretName="s3-credentials")
    job = LocalJob(tmp_path, manifest)
    with job.running() as run:
        run.until("processes", job.trainers)
        secrets = forms(secrets_of(job, bucket.environ))
        seen = list(arguments(job))
        assert run.ends().returncode == 0, run.output.read_text()
    assert len(seen) > 4, "agents, training processes and a rendezvous"
    shown = [*seen, *files(tmp_path), *objects(server, bucket), *commands(job)]
    assert {"trainingjob plan", "trainingjob logs"} <= {place for place, _ in shown}
    assert any(place.startswith("jobs/digits/runs/") for place, _ in shown)
    assert leaks(secrets, iter(shown)) == []
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith(HELD_BY)]
    assert sum(any(value in path.read_bytes() for value in secrets.values()) for path in holders) == 2, "it would have been found"
    assert [oct(path.stat().st_mode & 0o077) for path in holders] == ["0o0"] * len(holders)


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_a_refusal_by_the_store_quotes_neither_keys_nor_signatures(
    bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    environ = bucket.environ | {wrong: "a-wrong-and-marked-value"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    manifest = digits()
    manifest["spec"]["checkpoint"]["storage"] = {"uri": f"s3://{bucket.name}/x", "endpointUrl": bucket.endpoint, "region": "us-east-1"}
    job = LocalJob(tmp_path, manifest)
    ended = job.run()
    assert ended.returncode != 0
    assert "spec.checkpoint.storage.credentialsSecretName" in ended.stdout
    shown = list(files(tmp_path))
    assert leaks(forms(secrets_of(job, environ)), iter(shown)) == []
    assert [place for place, text in shown if SIGNED.search(text)] == []
