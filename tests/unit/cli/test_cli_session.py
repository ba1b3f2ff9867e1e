"""What `trainingjob run` does where a pass cannot write: it looks after the job as long as room may be made."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from trainingjob_api.backoff import Backoff
from trainingjob_api.status import Condition, Status
from trainingjob_cli import session as sessions
from trainingjob_cli.context import Outcome
from trainingjob_cli.rendering.live import RunView
from trainingjob_cli.session import Session
from trainingjob_operator.controllers.training_job.state import Observed, Plan
from trainingjob_operator.engine import queue
from trainingjob_operator.engine.controller import Controller
from trainingjob_operator.engine.values import Event, ResourceKey
from trainingjob_operator.local.jobs import LocalJobs
from unit.local.manifests import KEY, make_jobs

TURNS = 50
"""More than make any other trouble hopeless."""


class Notes:
    """A display that keeps the remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, view: RunView) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    def output(self, prefix: str, lines: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        pass


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "status.json")


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalJobs:
    monkeypatch.setattr(queue, "RETRY", Backoff(first=0.0, longest=0.0))
    return make_jobs(tmp_path)


def ends(jobs: LocalJobs, kind: str) -> None:
    jobs.write_status(KEY, Status(conditions=(Condition(type=kind, status="True"),)).to_object())


async def test_a_full_disk_is_told_once_and_never_makes_the_command_give_up(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[ResourceKey] = []

    async def reconcile(controller: Controller[Observed, Plan], key: ResourceKey, now: datetime) -> float | None:
        passes.append(key)
        if len(passes) < TURNS:
            raise full()
        ends(jobs, "Complete")
        await controller.observe(key)
        return None

    monkeypatch.setattr(sessions, "reconcile", reconcile)
    display = Notes()
    outcome = await Session(jobs, KEY, os.environ, display, lambda member: False).run()
    assert outcome is Outcome.COMPLETE
    assert display.notes == [
        "nothing can be written down, and training goes on; make room: [Errno 28] No space left on device: 'status.json'"
    ]


async def test_a_stop_that_cannot_be_written_down_is_once_there_is_room(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    edits: list[ResourceKey] = []
    edit = jobs.edit

    def refused(key: ResourceKey, change: object) -> bool:
        edits.append(key)
        if len(edits) < TURNS:
            raise full()
        return edit(key, change)  # type: ignore[arg-type]

    async def reconcile(controller: Controller[Observed, Plan], key: ResourceKey, now: datetime) -> float | None:
        if edits:
            ends(jobs, "Suspended")
        else:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        await controller.observe(key)
        return None

    monkeypatch.setattr(jobs, "edit", refused)
    monkeypatch.setattr(sessions, "reconcile", reconcile)
    display = Notes()
    assert await Session(jobs, KEY, os.environ, display, lambda member: False).run() is Outcome.SUSPENDED
    assert len(edits) == TURNS
    assert (jobs.read(KEY) or {})["spec"]["suspend"] is True
