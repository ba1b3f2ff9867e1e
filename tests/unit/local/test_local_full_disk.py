"""A disk that is full: a job's small files are written out of the room that is held back, and nothing is written by half."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainingjob_api.durable import is_full
from trainingjob_operator.engine.values import Event, EventType
from trainingjob_operator.local import folder as folders
from trainingjob_operator.local.folder import JobFolder, append_whole, in_charge, write_whole
from trainingjob_operator.local.jobs import LocalJobs
from trainingjob_operator.local.pods import LocalPods
from trainingjob_operator.local.processes import start_time
from trainingjob_operator.local.records import Records
from trainingjob_operator.local.reserve import SIZE
from unit.local.manifests import KEY, make_jobs, make_pod, until

EVENT = Event(EventType.NORMAL, "Created", "3 workers requested")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return make_jobs(tmp_path).folder(KEY)


@pytest.fixture
def disk(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Full while the block runs: it takes only what fits into room that the reserve has let go of."""

    @contextmanager
    def full() -> Iterator[None]:
        reserve = folder.path / "reserve"

        def limited(write: Callable[..., None]) -> Callable[..., None]:
            def tried(path: Path, *rest: Any) -> None:
                if not reserve.exists() or reserve.stat().st_size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                write(path, *rest)

            return tried

        with monkeypatch.context() as patch:
            patch.setattr(folders, "write_whole", limited(write_whole))
            patch.setattr(folders, "append_whole", limited(append_whole))
            yield

    return full


def held(folder: JobFolder) -> int:
    return (folder.path / "reserve").stat().st_blocks * 512


def test_a_job_in_charge_holds_room_back_and_gives_it_back(folder: JobFolder) -> None:
    with in_charge(folder):
        assert held(folder) >= SIZE
    assert not (folder.path / "reserve").exists()


def test_status_edits_and_events_are_written_on_a_full_disk(folder: JobFolder, disk: Callable[[], Any]) -> None:
    jobs = LocalJobs(folder.root)
    with in_charge(folder):
        with disk():
            for step in range(3):
                jobs.write_status(KEY, {"step": step})
            assert jobs.edit(KEY, lambda spec: {**spec, "suspend": True})
            jobs.add_events(KEY, (EVENT,))
        assert held(folder) >= SIZE, "it is taken again after each write"
    found = jobs.read(KEY)
    assert found is not None
    assert (found["status"], found["spec"]["suspend"]) == ({"step": 2}, True)
    assert [event["reason"] for event in jobs.events(KEY)] == ["Created"]


def test_without_room_a_write_fails_with_the_name_of_the_file_and_leaves_the_old_one(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(folder.status, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*status\.json'") as raised:
            folder.write(folder.status, "new")
    assert is_full(raised.value)
    assert folder.status.read_text() == "old"
    assert [path.name for path in folder.path.iterdir() if "status" in path.name] == ["status.json"]


def test_a_line_that_fits_in_part_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "events.jsonl", os.write
    append_whole(path, "first\n")
    pieces = [3]

    def half(descriptor: int, data: bytes) -> int:
        if not pieces:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: pieces.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            append_whole(path, "second\n")
    append_whole(path, "third\n")
    assert path.read_text() == "first\nthird\n"


def test_a_line_after_one_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('first\n{"ty')
    append_whole(path, "third\n")
    assert path.read_text() == 'first\n{"ty\nthird\n'


def test_the_end_of_a_job_is_not_lost_for_its_room(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with in_charge(folder):
        monkeypatch.setattr(Path, "unlink", read_only)
    with in_charge(folder):
        pass


def test_a_torn_event_hides_no_other(folder: JobFolder) -> None:
    jobs = LocalJobs(folder.root)
    jobs.add_events(KEY, (EVENT,))
    path = jobs.folder(KEY).events
    path.write_text(path.read_text() + '{"time": "2026\n{"time": "2{"time": 1}\n' + json.dumps({"reason": "Started"}) + "\n")
    assert [event["reason"] for event in jobs.events(KEY)] == ["Created", "Started"]


@pytest.fixture
async def pods(folder: JobFolder) -> Any:
    made = LocalPods(folder, os.environ, folder.root, lambda: None)
    yield made
    made.close()


async def test_how_a_process_ended_is_known_once_there_is_room(
    folder: JobFolder, disk: Callable[[], Any], pods: LocalPods, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    pods.create(make_pod("a", f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\nraise SystemExit(66)"))
    pid = Records(folder).all()[0].pid or 0
    with disk():
        go.touch()
        await until(lambda: start_time(pid) is None)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                pods.observe()
    (pod,) = pods.observe()
    assert (pod.exit_code, pod.reason) == (66, "")


async def test_all_processes_are_killed_though_nothing_can_be_written_down(
    folder: JobFolder, disk: Callable[[], Any], pods: LocalPods
) -> None:
    pods.create(make_pod("a", "import time; time.sleep(600)"))
    pid = Records(folder).all()[0].pid or 0
    with disk():
        pods.kill()
        await until(lambda: start_time(pid) is None)
