"""The main job: one manifest, one command, a trained model; stopped, resumed, at another world size."""

from __future__ import annotations

import pytest

from digits_job import UNPACED, Make, weights
from local_job import LocalJob, load

pytestmark = pytest.mark.timeout(420)


def test_the_digits_example_trains_to_its_accuracy_and_leaves_nothing_behind(tmp_path) -> None:
    job = LocalJob(tmp_path, load("digits.yaml"))
    ended = job.run()
    assert ended.returncode == 0, ended.stdout
    status = job.status()
    assert status["phase"] == "Succeeded"
    assert {"accuracy", "precision", "recall", "f1"} <= status["metrics"].keys()
    assert status["metrics"]["accuracy"] >= 0.95
    for word in ("accuracy", "precision", "recall", "f1", "goodput", "model"):
        assert word in ended.stdout.lower()
    assert job.model().is_dir()
    assert job.processes() == []


def test_progress_is_shown_while_it_trains(make: Make) -> None:
    job = make()
    with job.running() as run:
        run.until_step(80)
        shown = run.output.read_text()
        assert run.ends().returncode == 0
    for word in ("loss", "samples/s", "3/3", "checkpoint"):
        assert word in shown.lower()


def test_ctrl_c_saves_and_the_same_command_resumes_to_the_same_model(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until_step(50)
        run.interrupt()
        ended = run.ends()
    assert ended.returncode == 130, ended.stdout
    saved = job.checkpoints()[-1]
    assert f"step {saved}" in ended.stdout
    assert job.processes() == []
    with job.running() as run:
        assert run.ends().returncode == 0
    fences = [entry for entry in job.log() if entry["kind"] == "fence"]
    assert [fence["attempt"] for fence in fences] == [1, 2]
    assert weights(job) == weights(undisturbed), "no step was lost and none was taken twice"


def test_a_stopped_job_resumes_at_another_world_size(make: Make) -> None:
    job = make()
    with job.running() as run:
        run.until_step(50)
        run.interrupt()
        assert run.ends().returncode == 130
    with job.running("--workers", "2") as run:
        run.until("two workers train", lambda: job.status().get("readyWorkers") == 2)
        assert len(job.trainers()) == 2
        assert run.ends().returncode == 0
    assert job.status()["metrics"]["accuracy"] >= 0.95


def test_a_finished_job_run_again_says_so_and_trains_nothing(undisturbed: LocalJob) -> None:
    before = undisturbed.log()
    again = undisturbed.run()
    assert again.returncode == 0
    assert "trainingjob delete" in again.stdout
    assert undisturbed.log() == before


def test_deterministic_reduction_gives_the_same_bits_at_any_number_of_workers(make: Make) -> None:
    changes = {"training__task__class": UNPACED, "training__reduction": "Deterministic", "training__epochs": 40}
    straight, changed = make("straight", **changes), make("changed", **changes)
    assert straight.run().returncode == 0
    with changed.running() as run:
        run.until_step(100)
        run.interrupt()
        assert run.ends().returncode == 130
    ended = changed.run("--workers", "1")
    assert ended.returncode == 0, ended.stdout
    assert changed.status()["wantedWorkers"] == 1
    assert weights(changed) == weights(straight)
