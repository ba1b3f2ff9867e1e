"""Scripts of the user's own, by the whole command: how they are shown while they run, and how they end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.local.scripts import begun
from local_job import LocalJob, load

pytestmark = pytest.mark.timeout(120)
LEAVES_A_HELPER = """
import pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
"""
SAVES_SLOWLY = """
import signal, sys, time
def save(*_):
    print("saving", flush=True)
    time.sleep(5.5)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
time.sleep(600)
"""


def script(folder: Path, code: str, *arguments: str, replicas: int = 2, **spec: Any) -> LocalJob:
    manifest = load("script/script.yaml")
    manifest["spec"] |= {
        "workers": {"replicas": replicas},
        "training": {"script": {"command": [sys.executable, "-c", code, *arguments]}},
        **spec,
    }
    return LocalJob(folder, manifest)


def test_a_script_runs_while_its_processes_run_and_ends_with_them_whoever_holds_its_output(tmp_path: Path) -> None:
    job = script(tmp_path, LEAVES_A_HELPER, str(tmp_path / "end"))
    with job.running() as run:
        run.until("it runs", lambda: job.status().get("phase") == "Running")
        ready = job.condition("Ready")
        assert (ready["status"], ready["message"]) == ("True", "the script runs on 2 of 2 workers")
        (tmp_path / "end").touch()
        ended = run.ends(60)
    assert ended.returncode == 0, ended.stdout
    assert job.condition("Complete")["message"] == "the script ended with 0 on every worker"
    assert not any(word in ended.stdout for word in ("step ", "loss", "the model is in storage"))
    assert job.processes() == [], "the helpers are gone"


def test_a_script_that_fails_at_its_start_fails_the_job_with_its_exception(tmp_path: Path) -> None:
    job = script(tmp_path, "import no_such_module", replicas=1, recovery={"maxFailures": 2})
    ended = job.run()
    assert ended.returncode == 1
    failed = job.condition("Failed")
    assert failed["reason"] == "TooManyFailures"
    assert "3 failures" in failed["message"]
    assert "ModuleNotFoundError: No module named 'no_such_module'" in failed["message"]
    assert len(list((job.storage / "runs").rglob("*.log"))) == 3, "each life was counted"
    assert [event["reason"] for event in job.events()].count("WorkerLost") == 3
    assert job.status()["attempt"] == 1
    assert job.status()["ledger"].get("Training", 0.0) < 1.0, "what never ran was no training"


def test_ctrl_c_gives_a_script_its_grace(tmp_path: Path) -> None:
    job = script(tmp_path, SAVES_SLOWLY, replicas=1)
    with job.running() as run:
        begun(job)
        run.until("it runs", lambda: job.status().get("phase") == "Running")
        run.interrupt()
        run.until("it is told to end", lambda: "the script is told to end" in run.output.read_text())
        ended = run.ends(60)
    assert ended.returncode == 130, ended.stdout
    assert [line for line in job.command("logs", job.name).stdout.splitlines() if line.startswith("sav")] == ["saving", "saved"]
    assert "what it saved is its own" in ended.stdout
