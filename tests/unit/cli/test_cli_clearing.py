"""`--fresh` and `delete --storage` delete what the job has stored: nothing of another job's, and nothing of the user's."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from trainingjob_api.status import Condition, Status
from trainingjob_cli import archive
from trainingjob_cli.__main__ import main
from trainingjob_storage.files import FileStore
from unit.cli.stored import BEGUN, KEY, make_stored, uid_of, write_log

USERS = ["runs/Nov29_host/events.out.tfevents.1", "log/app.log", "export/results.csv", "saves/20240101-best/model.pt", "probe/notes.md"]
"""Files of a project in which somebody trains."""
STORED = [
    "saves/00000010-a1e1n1/manifest.json",
    "saves/00000010-a1e1n1/00000.safetensors",
    "runs/0/0/0.0.log",
    "export/00000010-a1e1n1/model.safetensors",
    "export/00000010-a1e1n1/model.json",
    "probe/a1e1n1",
]
DELETE = ["delete", "digits", "--storage", "--yes"]
FRESH = ["run", "FILE", "--fresh", "--yes"]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class StartedError(Exception):
    """The command is about to start processes."""


def call(folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the command's exit code; 0 if it would start the job now, which it does not."""

    def start(*_: object, **__: object) -> None:
        raise StartedError

    monkeypatch.setattr("trainingjob_cli.run.execute", start)
    try:
        return main([str(folder / "job.yaml") if word == "FILE" else word for word in words])
    except StartedError:
        return 0


@pytest.mark.parametrize("words", [DELETE, FRESH], ids=["delete", "fresh"])
def test_the_users_own_files_stay(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(folder, 10, owner=uid_of(make_stored(folder, BEGUN)))
    store = FileStore("file:///", folder / "storage")
    for key in (*USERS, *STORED):
        store.put(key, b"x")
    assert call(folder, words, monkeypatch) == 0
    assert files(folder / "storage") == set(USERS)


@pytest.mark.parametrize("words", [DELETE, FRESH], ids=["delete", "fresh"])
@pytest.mark.parametrize("status", [BEGUN, Status()], ids=["begun", "new"])
def test_another_jobs_checkpoints_stay_and_its_name_is_told(
    words: list[str], status: Status, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = make_stored(folder, status)
    write_log(folder, 10, owner="another")
    before, uid = files(folder / "storage"), uid_of(jobs)
    assert call(folder, words, monkeypatch) == 2
    assert files(folder / "storage") == before
    assert uid_of(jobs) == uid, "the job is as it was"
    said = capsys.readouterr().err
    assert "belongs to the job default/digits (uid another)" in said
    assert ("leave out --storage" if words is DELETE else "--storage URI") in said


def test_what_a_deleted_job_left_is_deleted_by_the_next_one_of_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = make_stored(folder, BEGUN)
    write_log(folder, 10, owner=uid_of(jobs))
    assert call(folder, ["delete", "digits"], monkeypatch) == 0
    assert call(folder, ["run", "FILE"], monkeypatch) == 2
    assert "--fresh" in capsys.readouterr().err
    assert call(folder, FRESH, monkeypatch) == 0
    assert files(folder / "storage") == set()
    assert jobs.all() == [KEY]


def test_a_job_that_moves_leaves_nothing_of_its_own_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(folder, 10, owner=uid_of(make_stored(folder, BEGUN)))
    (folder / "storage" / "log" / "app.log").write_text("mine")
    elsewhere = folder / "elsewhere"
    assert call(folder, [*FRESH, "--storage", elsewhere.as_uri()], monkeypatch) == 0
    assert files(folder / "storage") == {"log/app.log"}


def test_a_job_that_moves_away_from_another_jobs_storage_leaves_it_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_stored(folder)
    write_log(folder, 10, owner="another")
    before = files(folder / "storage")
    assert call(folder, [*FRESH, "--storage", (folder / "elsewhere").as_uri()], monkeypatch) == 0
    assert files(folder / "storage") == before


def test_a_job_that_moves_into_another_jobs_storage_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_stored(folder, BEGUN)
    write_log(folder, 10, owner=uid_of(jobs))
    other = folder / "other"
    other.mkdir()
    write_log(other, 20, owner="another")
    before = files(folder)
    assert call(folder, [*FRESH, "--storage", (other / "storage").as_uri()], monkeypatch) == 2
    assert files(folder) == before


class Killed(FileStore):
    """Ends after some deletions."""

    left = 2

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().delete([key])


def test_what_a_killed_deletion_leaves_still_has_its_owner(folder: Path) -> None:
    write_log(folder, 10, 20, 30, owner="one")
    store = Killed("file:///", folder / "storage")
    with pytest.raises(KeyboardInterrupt):
        archive.clear(store)
    owner = archive.owner_of(store)
    assert owner is not None
    assert owner.owner_uid == "one"


def test_a_job_whose_storage_is_anothers_is_not_told_to_delete_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claimed = Condition(type="Failed", status="True", reason="StorageClaimed", message="it belongs to the job team/other")
    make_stored(folder, BEGUN.model_copy(update={"conditions": (claimed,), "phase": "Failed"}))
    assert main(["run", str(folder / "job.yaml"), "--plain"]) == 1
    said = capsys.readouterr().err
    assert "trainingjob delete digits, and name another storage" in said
    assert "delete digits --storage" not in said
