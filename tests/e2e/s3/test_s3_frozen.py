"""The S3 server stands still while a job trains. Oracles: requests lie unread at the server, and every worker goes on stepping at its pace;
beside them the status is sampled, which may claim neither less nor more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from digits_job import UNPACED, digits
from local_job import LocalJob
from s3_server import Server
from stamped_steps import pace, taken

pytestmark = pytest.mark.timeout(420)

EVERY = 50


def unread(server: Server) -> int:
    """Bytes that clients have sent and the server has not read, by the kernel's table of connections."""
    port = urlsplit(server.endpoint).port
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(int(words[4].split(":")[1], 16) for words in fields if int(words[1].split(":")[1], 16) == port and words[3] == "01")


def endless(bucket: Any, folder: Path) -> LocalJob:
    """A job that trains until it is stopped."""
    changes = {"training__task__class": UNPACED, "training__epochs": 100_000, "checkpoint__everySteps": EVERY}
    return LocalJob(folder, digits(**changes, checkpoint__storage=bucket.storage()))


def failing(job: LocalJob) -> str:
    found = job.condition("StorageFailing")
    return str(found["message"]) if found.get("status") == "True" else ""


@pytest.mark.alone
def test_a_server_that_stands_still_costs_no_step_is_told_and_forgiven(
    server: Server, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.open_to(monkeypatch)
    job = endless(bucket, tmp_path)
    samples: list[tuple[dict[int, int], dict[str, Any]]] = []
    with job.running() as run:
        run.until("checkpoints", lambda: job.status().get("checkpoint", 0) >= 2 * EVERY)
        usual = pace(job)
        with server.process.paused(0.0):
            run.until("requests are stuck", lambda: unread(server) > 0)
            run.until("no checkpoint comes any more", lambda: job.step() > job.status()["checkpoint"] + 4 * EVERY)
            kept = job.status()["checkpoint"]
            frozen = pace(job)

            def told() -> str:
                status = job.status()
                samples.append((taken(job), status))
                return failing(job)

            message = run.until("it is told", told, 60.0)
            assert unread(server) > 0
            assert job.status()["checkpoint"] == kept
        run.until("a new checkpoint", lambda: job.status()["checkpoint"] > kept)
        run.until("it is taken back", lambda: not failing(job))
        run.interrupt()
        ended = run.ends()
    assert frozen >= 0.7 * usual, f"{frozen:.0f} steps a second, {usual:.0f} before"
    assert re.fullmatch(
        rf"worker \d: storage has not answered for 30 s; the newest checkpoint is step {kept}, saved at \d\d:\d\d:\d\d UTC;"
        r" training goes on; saves are skipped since step \d+",
        message,
    ), message
    assert all(status["phase"] == "Running" and status["checkpoint"] == kept for _, status in samples)
    assert all(status["step"] <= max(steps.values()) for steps, status in samples), "the status claims no step that was not taken"
    assert samples[-1][1]["step"] > samples[0][1]["step"]
    assert "StorageWorks" in [event["reason"] for event in job.events()]
    assert job.status().get("restarts", 0) == 0
    assert ended.returncode == 130
    assert f"saved at step {job.status()['checkpoint']};" in ended.stdout
    assert job.status()["checkpoint"] == job.status()["step"]


def test_a_stop_while_the_server_stands_still_says_what_is_lost(
    server: Server, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.open_to(monkeypatch)
    job = endless(bucket, tmp_path)
    with job.running() as run:
        run.until("checkpoints", lambda: job.status().get("checkpoint", 0) >= 2 * EVERY)
        with server.process.paused(0.0):
            run.until("no checkpoint comes any more", lambda: job.step() > job.status()["checkpoint"] + 4 * EVERY)
            run.interrupt()
            run.until("they wait for storage", lambda: job.status()["phase"] == "Suspending")
            run.interrupt()
            ended = run.ends()
    kept, step = job.status()["checkpoint"], job.status()["step"]
    assert step > kept + 4 * EVERY
    assert (
        f"ended at once; stopped at step {step}; the newest checkpoint in storage is step {kept}; steps {kept + 1} to {step} are lost"
        in ended.stdout
    )


def test_a_stop_before_the_server_has_ever_answered_does_not_wait_for_a_checkpoint(
    server: Server, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.open_to(monkeypatch)
    job = LocalJob(tmp_path, digits(checkpoint__storage=bucket.storage()))
    with server.process.paused(0.0), job.running() as run:
        run.until("the group waits for the attempt", lambda: "run a1e1n1" in rendezvous_log(job))
        run.until("requests are stuck", lambda: unread(server) > 0)
        run.interrupt()
        ended = run.ends(60.0)  # a stop that waits for a checkpoint takes suspendTimeoutSeconds: 120
    assert ended.returncode == 130
    assert "nothing was saved yet; the same command resumes" in ended.stdout


def rendezvous_log(job: LocalJob) -> str:
    return "".join(path.read_text() for path in (job.own / "pods").glob("*rendezvous*.log"))
