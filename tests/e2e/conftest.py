"""Jobs for the end-to-end tests: the real command, real processes, real storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from digits_job import Make, digits
from local_job import LocalJob


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a digits job, with fields of its spec changed: make(workers__replicas=2)."""

    def made(name: str = "job", **changes: Any) -> LocalJob:
        return LocalJob(tmp_path / name, digits(**changes))

    return made


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> LocalJob:
    """The digits job, run once without any fault: what a run with faults must equal."""
    job = LocalJob(tmp_path_factory.mktemp("undisturbed"), digits())
    ended = job.run()
    assert ended.returncode == 0, ended.stdout
    return job
