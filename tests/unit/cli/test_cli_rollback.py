"""`trainingjob rollback`: which checkpoint is meant, and how it is kept until the job goes back to it."""

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.status import Condition, Status
from trainingjob_api.storage.retention import to_drop
from trainingjob_cli.__main__ import main
from trainingjob_cli.archive import read_history
from trainingjob_cli.context import find
from trainingjob_cli.control import _pinned
from trainingjob_cli.session import outcome_of
from trainingjob_operator.local.folder import in_charge
from trainingjob_operator.local.jobs import LocalJobs
from unit.cli.stored import KEY, make_stored, uid_of, write_log


@pytest.mark.parametrize(("word", "step"), [("10", 10), ("latest", 30), ("previous", 20)])
def test_a_rollback_is_an_edit_of_the_spec_to_a_checkpoint_that_is_pinned(
    word: str, step: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = make_stored(folder)
    write_log(folder, 10, 20, 30, owner=uid_of(jobs))
    assert main(["rollback", "digits", "--to-step", word, "--request", "r1"]) == 0
    job = jobs.read(KEY)
    assert job is not None
    assert job["spec"]["rollback"] == {"toStep": step, "request": "r1"}
    assert job["metadata"]["generation"] == 2
    assert "nobody runs it now: trainingjob resume digits does it" in capsys.readouterr().err
    history = read_history(Storage(uri=f"file://{folder}/storage"))
    assert [kept.step for kept in history.visible() if kept.pinned] == [step]
    assert to_drop(history, 2) == [kept.save for kept in history.visible() if kept.step not in (step, 20, 30)]
    assert main(["rollback", "digits", "--to-step", word, "--request", "r2"]) == 0
    assert read_history(Storage(uri=f"file://{folder}/storage")).seq == history.seq, "it is pinned already"


def test_a_rollback_waits_for_the_answer_of_whoever_runs_the_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = Condition(type="RolledBack", status="False", reason="RollbackRefused", message="rollback.toStep: there is no checkpoint")
    done = Condition(type="RolledBack", status="True", reason="RolledBack", message="training went on from checkpoint 10")
    for condition, code in ((done, 0), (refused, 2)):
        jobs = make_stored(folder, Status(phase="Running"))
        if not (folder / "storage").exists():
            write_log(folder, 10, 20, owner=uid_of(jobs))
        answer = threading.Thread(target=answered, args=(jobs, (jobs.read(KEY) or {})["spec"].get("rollback"), condition))
        with in_charge(jobs.folder(KEY)):
            answer.start()
            assert main(["rollback", "digits", "--to-step", "previous", "--request", f"r{code}"]) == code
        answer.join()
        assert condition.message in capsys.readouterr().err


def answered(jobs: LocalJobs, known: Any, condition: Condition) -> None:
    """What whoever runs the job does as soon as there is another request than the `known` one."""
    while (asked := (jobs.read(KEY) or {})["spec"].get("rollback")) == known:
        threading.Event().wait(0.01)
    jobs.write_status(KEY, Status(phase="Running", last_rollback_request=asked["request"], conditions=(condition,)).to_object())


def test_a_log_of_another_job_takes_no_pin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_stored(folder)
    write_log(folder, 10)
    assert main(["rollback", "digits", "--to-step", "10"]) == 2
    assert "belongs to the job default/digits" in capsys.readouterr().err


def test_a_request_that_was_carried_out_is_not_asked_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_stored(folder, Status(last_rollback_request="r1"))
    assert main(["rollback", "digits", "--to-step", "10", "--request", "r1"]) == 2
    assert "--request r1" in capsys.readouterr().err


@pytest.mark.parametrize("taken", [False, True])
def test_the_status_of_a_job_at_rest_names_the_pinned_checkpoint_though_twenty_are_newer(folder: Path, taken: bool) -> None:
    newest = tuple(range(60, 260, 10))
    finished = Condition(type="Complete", status="True", reason="Succeeded")
    jobs = make_stored(folder, Status(phase="Succeeded", attempt=1, checkpoints=newest, conditions=(finished,)))
    write_log(folder, *range(10, 260, 10), owner=uid_of(jobs))
    with in_charge(jobs.folder(KEY)) if taken else nullcontext():
        _pinned(jobs, KEY, find(jobs, KEY), "10")
    status = find(jobs, KEY).status
    assert status.checkpoints == (newest if taken else (10, *newest[1:])), "while somebody runs the job its workers report"
    jobs.edit(KEY, lambda spec: {**spec, "rollback": {"toStep": 10, "request": "r1"}})
    assert (outcome_of(find(jobs, KEY), status) is None) is not taken
