"""What lies in the user's folder is the task's, and never breaks the product's own processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from digits_job import Make
from e2e.local.mistakes import mistaken

NAMES = (
    "random",
    "json",
    "typing",
    "string",
    "socket",
    "logging",
    "trainingjob_api",
    "trainingjob_agent",
    "pydantic",
    "torch",
    "numpy",
    "queue",
)
BREAKS = 'raise RuntimeError("this file of the user is imported by the product")\n'


@pytest.mark.timeout(120)
def test_files_of_the_user_that_are_named_as_modules_break_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    top = "import datasets\nassert datasets.OWN"
    job = mistaken(make, "shadows", top=top, workers__replicas=2, workers__minReplicas=1, training__epochs=1)
    (job.folder / "datasets.py").write_text("OWN = True\n")
    for name in NAMES:
        (job.folder / f"{name}.py").write_text(BREAKS)
    monkeypatch.setattr("local_job.COMMAND", [str(Path(sys.executable).with_name("trainingjob"))])
    monkeypatch.setattr("local_job.ROOT", job.folder)  # the working folder
    monkeypatch.setenv("PYTHONPATH", str(job.folder))
    ended = job.run()
    assert ended.returncode == 0, ended.stdout
    assert job.status()["phase"] == "Succeeded"
