import io
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from trainingjob_api import launchers
from trainingjob_api.status import Condition, Status
from trainingjob_cli import manifest, run
from trainingjob_cli.__main__ import main
from trainingjob_cli.changes import ChangeRefusedError
from trainingjob_cli.context import Mistake
from trainingjob_cli.run import start_anew
from trainingjob_operator.local.folder import in_charge
from trainingjob_operator.local.jobs import LocalJobs
from trainingjob_storage.files import FileStore
from unit.cli.stored import BEGUN, KEY, make_stored, uid_of, write_log, write_manifest


def keep(jobs: LocalJobs, folder: Path, *settings: str) -> None:
    """What `run` does with the manifest before it runs the job."""
    run.keep(jobs, KEY, manifest.bundle(folder / "job.yaml", None, settings).job, folder)


def script(*command: str) -> list[str]:
    """What makes the manifest one of a script."""
    fields = ["task=null", "optimizer=null", "globalBatchSize=null", "epochs=null", f"script.command=[{', '.join(command)}]"]
    return [f"training.{field}" for field in fields]


BY_ITSELF = [word for setting in script("accelerate", "launch", "train.py") for word in ("--set", setting)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["plan", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["describe", "other"], ["no job other", "known jobs: digits"]),
        (["get", "other"], ["no job other"]),
        (["logs", "other"], ["no job other"]),
        (["rollback", "other", "--to-step", "1"], ["no job other"]),
        (["delete", "other"], ["no job other"]),
        (["suspend", "other"], ["no job other"]),
        (["get", "../etc"], ["NAME '../etc' is no name"]),
        (["get", "digits", "-n", ".."], ["--namespace '..' is no name"]),
        (["rollback", "digits", "--to-step", "7"], ["--to-step 7", "can be gone back to: 10, 20"]),
        (["rollback", "digits", "--to-step", "best"], ["--to-step best", "give a step, latest or previous"]),
        (["rollback", "digits", "--to-step", "-1"], ["--to-step -1"]),
        (["checkpoints"], ["NAME", "FILE", "--storage"]),
        (["checkpoints", "--storage", "ftp://x"], ["--storage", "file:///"]),
        (["predict", "digits"], ["no model yet"]),
        (["predict", "digits", "--rows", "nowhere.csv"], ["--rows nowhere.csv"]),
        (["run", "FILE", "--set", "training.epochz=3"], ["spec.training.epochz", "did you mean epochs?"]),
        (["run", "FILE", "--set", "training.epochs"], ["--set training.epochs", "PATH=VALUE"]),
        (["run", "FILE", "--name", "other"], ["--name other", "it holds: digits"]),
        (["plan", "FILE", "--set", "workers.replicas=many"], ["spec.workers.replicas", "not a whole number"]),
        (["run", "FILE", "--workers", "0"], ["--workers"]),
        (["run", "FILE", "--workers", "100000"], ["spec.workers.replicas", "512"]),
        (["run", "FILE", "--storage", "nowhere"], ["spec.checkpoint.storage.uri", "file:///"]),
        (["plan", "FILE", *BY_ITSELF], ["spec.training.script.command", "write [python, train.py]"]),
        (["run", "FILE", "--fresh", "-y", *BY_ITSELF], ["spec.training.script.command", "write [python, train.py]"]),
        (["no-such-command"], ["no-such-command"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in ("run",) else None,
)
def test_a_mistake_is_one_message_that_names_it(
    arguments: list[str], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_stored(folder)
    write_log(folder, 10, 20)
    code = main([str(folder / "job.yaml") if argument == "FILE" else argument for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_debug_shows_the_traceback(folder: Path) -> None:
    with pytest.raises(ValueError, match="no job other"):
        main(["--debug", "describe", "other"])


def test_a_job_that_somebody_runs_is_not_run_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_stored(folder)
    with in_charge(jobs.folder(KEY)):
        assert main(["run", str(folder / "job.yaml")]) == 2
        assert f"run by process {os.getpid()} already" in capsys.readouterr().err
        assert main(["delete", "digits"]) == 2


def test_a_changed_manifest_is_refused_with_the_field(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_stored(folder, BEGUN)
    write_manifest(folder, batch=16)
    assert main(["run", str(folder / "job.yaml")]) == 2
    said = capsys.readouterr().err
    assert "spec.training.globalBatchSize" in said
    assert "trainingjob delete digits --storage" in said


def test_a_job_that_never_trained_is_replaced_by_a_changed_manifest(folder: Path) -> None:
    jobs = make_stored(folder, Status(attempt=1, phase="Failed", conditions=(Condition(type="Failed", status="True"),)))
    before = jobs.read(KEY)
    write_manifest(folder, batch=16)
    keep(jobs, folder)
    after = jobs.read(KEY)
    assert before is not None
    assert after is not None
    assert after["spec"]["training"]["globalBatchSize"] == 16
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "what it may have claimed stays its own"
    assert "status" not in after


def test_a_job_that_has_claimed_its_storage_is_not_replaced_though_its_status_is_lost(folder: Path) -> None:
    jobs = make_stored(folder)
    stored = jobs.read(KEY)
    assert stored is not None
    write_log(folder, owner=stored["metadata"]["uid"])
    write_manifest(folder, batch=16)
    with pytest.raises(ChangeRefusedError):
        keep(jobs, folder)


def test_a_failed_job_that_never_trained_is_tried_again_by_the_same_manifest(folder: Path) -> None:
    jobs = make_stored(folder, Status(attempt=1, phase="Failed", conditions=(Condition(type="Failed", status="True"),)))
    keep(jobs, folder)
    assert "status" not in (jobs.read(KEY) or {})


def test_a_failed_job_of_which_something_runs_says_what_ends_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_stored(folder, Status(attempt=1, phase="Failed", conditions=(Condition(type="Failed", status="True"),)))
    monkeypatch.setattr(run, "living", lambda _folder: (7,))
    with pytest.raises(Mistake, match="processes of the earlier run live still: trainingjob delete digits ends them"):
        keep(jobs, folder)
    assert "status" in (jobs.read(KEY) or {})


@pytest.mark.parametrize("adopt", [False, True])
def test_another_jobs_storage_is_refused_before_anything_is_made(folder: Path, capsys: pytest.CaptureFixture[str], adopt: bool) -> None:
    write_log(folder, 10)
    if adopt:
        keep(LocalJobs(folder / "state"), folder, "checkpoint.adopt=true")
        assert LocalJobs(folder / "state").all() == [KEY]
        return
    assert main(["run", str(folder / "job.yaml")]) == 2
    said = capsys.readouterr().err
    for words in ("spec.checkpoint.storage.uri", "default/digits", "--storage URI", "--set checkpoint.adopt=true", "if that job is gone"):
        assert words in said
    assert "--fresh" not in said, "the other job may be training"
    assert LocalJobs(folder / "state").all() == []


def test_starting_anew_asks_first_and_leaves_what_is_not_a_jobs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(folder, 10, owner=uid_of(make_stored(folder, BEGUN)))
    (folder / "storage" / "mine.txt").write_text("notes")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["run", str(folder / "job.yaml"), "--fresh"]) == 2
    assert "nothing was deleted" in capsys.readouterr().err
    jobs = LocalJobs(folder / "state")
    assert jobs.all() == [KEY]
    start_anew(jobs, KEY, FileStore("file:///", folder / "storage"), sure=True)
    assert jobs.all() == []
    assert [path.name for path in (folder / "storage").rglob("*") if path.is_file()] == ["mine.txt"]


@pytest.mark.parametrize("ended", [True, False], ids=["complete", "running"])
def test_only_a_complete_job_may_be_made_longer(folder: Path, ended: bool) -> None:
    done = (Condition(type="Complete", status="True", reason="Succeeded"),)
    jobs = make_stored(folder, BEGUN.model_copy(update={"conditions": done if ended else ()}))
    if not ended:
        with pytest.raises(ChangeRefusedError, match=r"spec\.training\.epochs can be changed only while suspend is true or when"):
            keep(jobs, folder, "training.epochs=3")
        return
    keep(jobs, folder, "training.epochs=3")
    assert (jobs.read(KEY) or {})["spec"]["training"]["epochs"] == 3


def test_an_empty_state_folder_says_how_to_begin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get"]) == 0
    assert "trainingjob run FILE" in capsys.readouterr().err


@pytest.mark.parametrize("how", [["digits"], ["FILE"], ["--storage", "STORAGE"]], ids=["name", "file", "storage"])
def test_checkpoints_are_found_by_name_file_and_storage(how: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_stored(folder)
    write_log(folder, 10, 20)
    places = {"FILE": str(folder / "job.yaml"), "STORAGE": f"file://{folder}/storage"}
    assert main(["checkpoints", *(places.get(word, word) for word in how)]) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["STEP", "10", "20"]


def test_logs_come_from_storage_and_from_this_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_stored(folder)
    store = FileStore("file:///", folder / "storage")
    store.put("runs/1/0/0.2.log", b"a finished life\n")
    store.put("runs/0/0/0.0.log", b"an older upload\n")
    pods = jobs.folder(KEY).pods
    here = pods / "digits-ab12c-worker-0-0.scratch/runs/0/0/0.0.log"
    here.parent.mkdir(parents=True)
    here.write_text("what runs now\n")
    (pods / "digits-ab12c-worker-0-0.log").write_text("[0/0.0] what runs now\n[agent] INFO opened\n")
    (pods / "digits-ab12c-rendezvous-1.log").write_text("rendezvous\n")
    assert main(["logs", "digits"]) == 0
    assert capsys.readouterr().out == "==> worker 0.0/0.0 <==\nwhat runs now\n==> worker 1.0/0.2 <==\na finished life\n"
    assert main(["logs", "digits", "--worker", "1"]) == 0
    assert capsys.readouterr().out == "==> worker 1.0/0.2 <==\na finished life\n"
    assert main(["logs", "digits", "--worker", "0", "--system"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "==> digits-ab12c-rendezvous-1 <==\nrendezvous\n==> digits-ab12c-worker-0-0 <==\n[agent] INFO opened\n==> worker 0"
    )


def test_deleting_a_job_keeps_its_storage_unless_told_otherwise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_stored(folder)
    write_log(folder, 10)
    assert main(["delete", "digits"]) == 0
    assert jobs.all() == []
    assert (folder / "storage" / "log").exists()
    shutil.rmtree(folder / "storage")
    write_log(folder, 10, owner=uid_of(make_stored(folder)))
    assert main(["delete", "digits", "--storage", "--yes"]) == 0
    assert list((folder / "storage" / "log").glob("*")) == []
    assert f"{folder}/storage" not in capsys.readouterr().err.splitlines()[-1]


def test_a_job_in_the_state_folder_is_its_owners_alone(folder: Path) -> None:
    jobs = make_stored(folder)
    modes: dict[str, Any] = {path.name: stat.S_IMODE(path.stat().st_mode) for path in jobs.folder(KEY).path.iterdir()}
    assert modes["job.json"] == 0o600
    assert modes["status.json"] == 0o600


def test_a_finished_job_shows_its_result_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condition = Condition(type="Complete", status="True", reason="Succeeded")
    make_stored(folder, Status(phase="Complete", conditions=(condition,), metrics={"accuracy": 0.97}, attempt=1, step=7, total_steps=7))
    assert main(["run", str(folder / "job.yaml"), "--plain"]) == 0
    out = capsys.readouterr().out
    assert "0.9700" in out
    assert "trainingjob delete digits" in out


def test_a_failed_job_shows_why_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condition = Condition(type="Failed", status="True", reason="UserError", message="no such class")
    make_stored(folder, Status(phase="Failed", conditions=(condition,), attempt=1, opened_attempt=1))
    assert main(["run", str(folder / "job.yaml"), "--plain"]) == 1
    assert "job digits has failed: no such class" in capsys.readouterr().err


def test_a_launcher_that_would_train_in_each_worker_by_itself_is_refused_before_anything_is_made(folder: Path) -> None:
    jobs = LocalJobs(folder / "state")
    with pytest.raises(Mistake, match=r"spec\.training\.script\.command: deepspeed would train in each of the 3 processes by itself"):
        keep(jobs, folder, *script("deepspeed", "train.py"))
    assert jobs.read(KEY) is None


def test_a_job_that_has_started_resumes_whatever_its_launcher(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = LocalJobs(folder / "state")
    with monkeypatch.context() as earlier:
        earlier.setattr(launchers, "problem", lambda *_: None)
        keep(jobs, folder, *script("deepspeed", "train.py"))
    before = jobs.read(KEY)
    with pytest.raises(Mistake, match="deepspeed"):
        keep(jobs, folder, *script("deepspeed", "train.py"))
    jobs.write_status(KEY, BEGUN.to_object())
    keep(jobs, folder, *script("deepspeed", "train.py"))
    after = jobs.read(KEY)
    assert before is not None
    assert after is not None
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])


def test_a_failed_job_is_not_made_again_with_a_launcher_of_its_own(folder: Path) -> None:
    jobs = make_stored(folder, Status(attempt=1, phase="Failed", conditions=(Condition(type="Failed", status="True"),)))
    uid = (jobs.read(KEY) or {})["metadata"]["uid"]
    with pytest.raises(Mistake, match="deepspeed"):
        keep(jobs, folder, *script("deepspeed", "train.py"))
    assert (jobs.read(KEY) or {})["metadata"]["uid"] == uid
