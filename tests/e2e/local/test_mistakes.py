"""Code and storage that cannot work: one clear message each, that names field and fix; no restart loop; nothing lost."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from digits_job import Make
from e2e.local.mistakes import line_of, mistaken
from local_job import LocalJob
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store

pytestmark = pytest.mark.timeout(300)
TWO = {"workers__replicas": 2, "workers__minReplicas": 1}
ONE = {"workers__replicas": 1, "workers__minReplicas": 1}


def fails(job: LocalJob, reason: str) -> str:
    """Run it to its end, which is a failure for this reason that leaves nothing behind; what is said."""
    ended = job.run()
    assert ended.returncode == 1, ended.stdout
    status = job.status()
    assert status["phase"] == "Failed"
    failed = job.condition("Failed")
    assert failed["reason"] == reason, failed
    assert failed["message"] in ended.stdout
    assert [event["reason"] for event in job.events()].count(reason) == 1
    assert job.processes() == []
    message: str = failed["message"]
    return message


def lives(job: LocalJob) -> int:
    """How many training processes there have been."""
    return len(list((job.storage / "runs").rglob("*.log")))


def test_an_exception_in_step_3_is_told_with_its_line_after_two_generations(make: Make) -> None:
    job = mistaken(make, "raises", loss='if self.calls == 4: raise KeyError("spiral")', **TWO)
    message = fails(job, "UserError")
    assert message.startswith("spec.training.task: KeyError: 'spiral' (")
    assert line_of(job, "raise KeyError") in message
    assert "at step 3, in 2 generations; mend it" in message
    assert lives(job) <= 6


def test_what_is_wrong_before_the_first_step_is_told_once(make: Make) -> None:
    job = mistaken(make, "begins", loss='raise KeyError("spiral")', **ONE)
    message = fails(job, "UserError")
    assert message == f"worker 0: spec.training.task: KeyError: 'spiral' ({line_of(job, 'raise KeyError')}, in look); mend it"
    assert lives(job) == 1


def test_a_sample_that_kills_the_process_stops_the_job_after_two_and_loses_no_step(make: Make) -> None:
    job = mistaken(make, "kills", loss="if bad: os.kill(os.getpid(), signal.SIGSEGV)", workers__minReplicas=2)
    message = fails(job, "PoisonousStep")
    step = int(message.removeprefix("step ").split()[0])
    assert message.startswith(f"step {step} crashed 2 processes in 2 generations (the last: SIGSEGV)")
    assert "look at native code that it runs, and at its samples" in message
    assert step > 0
    assert job.checkpoints()[-1] == step, "what was trained before it is in storage"


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ("import no_such_package", "spec.training.task.class: mine needs the module no_such_package, which is not installed"),
        ("def broken(:", "spec.training.task.class: mine cannot be imported: invalid syntax (mine.py, line 9)"),
        ("WRONG = undefined_name", "mine cannot be imported: NameError: name 'undefined_name' is not defined (mine.py:9, in <module>)"),
        (
            'import argparse; p = argparse.ArgumentParser(); p.add_argument("--data", required=True); p.parse_args()',
            "mine ends its process while it is imported (sys.exit, and says: __main__.py: error: the following arguments",
        ),
    ],
    ids=["a module of others", "a typing mistake", "an exception", "a program of its own"],
)
def test_a_task_that_does_not_import(make: Make, top: str, says: str) -> None:
    job = mistaken(make, "imports", top=top, **ONE)
    assert says in fails(job, "UserError")
    assert lives(job) == 1


def test_what_may_pass_is_tried_again(make: Make) -> None:
    """A server that was away twice is no reason to give up."""
    build = (
        'with MARK.open("a") as file: print("away", file=file)\n        if len(MARK.read_text().split()) < 3: raise ConnectionError("away")'
    )
    job = mistaken(make, "passes", build=build, training__epochs=1, **ONE)
    ended = job.run()
    assert ended.returncode == 0, ended.stdout
    assert len((job.folder / "mark").read_text().split()) >= 3
    assert job.status()["restarts"] == 2


def claimed(job: LocalJob) -> None:
    """Another job claims the storage."""
    store = open_store(job.storage.as_uri(), None, None, {})
    Journal(store, "another-uid", "team/other", "build", adopt=False, now=time.time).open_attempt(GenerationId(1, 1, 1), Restore())


def test_the_storage_of_another_job_is_refused_before_anything_starts(make: Make) -> None:
    job = make("claims", **ONE)
    claimed(job)
    before = job.log()
    ended = job.run()
    assert ended.returncode == 2, ended.stdout
    assert "spec.checkpoint.storage.uri: " in ended.stdout
    assert "team/other" in ended.stdout
    assert "if that job is gone" in ended.stdout
    assert "--fresh" not in ended.stdout, "the other job may be training"
    assert job.log() == before, "the other job's log is as it was"
    assert lives(job) == 0
    assert not job.own.joinpath("job.json").exists()


def test_a_storage_that_another_job_claims_meanwhile(make: Make) -> None:
    job = make("claimed-meanwhile", **ONE)
    with job.running() as run:
        run.until("a worker", job.workers)
        claimed(job)
        before = job.log()
        ended = run.ends()
    assert ended.returncode == 1, ended.stdout
    failed = job.condition("Failed")
    assert failed["reason"] == "StorageClaimed"
    assert failed["message"].startswith("worker 0: spec.checkpoint.storage.uri: ")
    assert "team/other" in failed["message"]
    assert "checkpoint.adopt: true" in failed["message"]
    assert job.log() == before, "the other job's log is as it was"
    assert lives(job) <= 1
    assert job.processes() == []


def test_storage_that_takes_no_checkpoint_any_more_is_told_while_training_goes_on(make: Make) -> None:
    """As credentials that expire, or a volume that is taken away: what was saved is kept, and what comes after it is saved again."""
    job = make("runs-dry", **TWO)
    saves, away = job.storage / "saves", job.storage / "away"
    with job.running() as run:
        run.until("a checkpoint", lambda: job.status().get("checkpoint", 0) >= 40)
        saves.rename(away)
        saves.write_text("in the way")
        run.until("it is told", lambda: job.condition("StorageFailing").get("status") == "True")
        told, message = job.condition("StorageFailing"), job.status()["message"]
        kept, step = job.status()["checkpoint"], job.step()
        run.until_step(step + 40)
        assert job.status()["checkpoint"] == kept, "nothing was saved meanwhile"
        saves.unlink()
        away.rename(saves)
        run.until("it works again", lambda: job.condition("StorageFailing")["status"] == "False")
        assert run.ends().returncode == 0
    assert told["reason"] == "StorageFails"
    assert told["message"] == message
    assert re.match(r"worker [01]: spec\.checkpoint\.storage\.uri: .*/saves", message), message
    assert [event["reason"] for event in job.events()].count("StorageFails") == 1
    status = job.status()
    assert (status["phase"], status.get("restarts", 0), status["checkpoint"]) == ("Succeeded", 0, status["totalSteps"])


def test_a_file_system_that_takes_no_folders(make: Make) -> None:
    job = make("no-folders", **ONE)
    job.manifest["spec"]["checkpoint"]["storage"]["uri"] = "file:///proc/nosuch"
    job.write()
    message = fails(job, "UserError")
    assert "spec.checkpoint.storage.uri: /proc/nosuch cannot be made" in message


def test_a_folder_that_cannot_be_written(make: Make, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    job = make("refused", **ONE)
    job.manifest["spec"]["checkpoint"]["storage"]["uri"] = (tmp_path / "file" / "folder").as_uri()
    job.write()
    message = fails(job, "UserError")
    assert "spec.checkpoint.storage.uri" in message
