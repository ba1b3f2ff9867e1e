"""Every manifest in examples/ is run to its end, by the command that its first lines name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local_job import ROOT, LocalJob, Process, load

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def fashion_mnist() -> str:
    """The folder with Debian's data set."""
    found = subprocess.run([ROOT / "tests/tools/fashion_mnist.sh"], capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def finish(job: LocalJob, seconds: float = 300.0) -> dict[str, float]:
    """Run the job to its end; its metrics."""
    ended = job.run(seconds=seconds)
    assert ended.returncode == 0, ended.stdout
    assert job.processes() == []
    return job.status().get("metrics", {})


def test_a_small_network_learns_fashion_mnist(tmp_path: Path, fashion_mnist: str) -> None:
    manifest = load("fashion-mnist.yaml")
    manifest["spec"]["training"]["task"]["parameters"]["path"] = fashion_mnist
    manifest["spec"]["training"]["epochs"] = 2
    assert finish(LocalJob(tmp_path, manifest), 800)["accuracy"] >= 0.85


def test_a_regression_learns_diabetes(tmp_path: Path) -> None:
    metrics = finish(LocalJob(tmp_path, load("diabetes.yaml")))
    assert metrics["r2"] > 0.3
    assert {"mse", "rmse", "mae"} <= metrics.keys()


def test_a_task_of_the_users_own_trains_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples/custom"))
    job = LocalJob(tmp_path, load("custom/spirals.yaml"))
    assert finish(job)["accuracy"] >= 0.95
    rows = tmp_path / "rows.csv"
    rows.write_text("0.5,0.1\n-0.5,-0.1\n")
    answered = job.command("predict", job.name, "--rows", str(rows))
    assert answered.returncode == 0, answered.stderr


def script_job(folder: Path, epochs: int) -> LocalJob:
    manifest = load("script/script.yaml")
    command = manifest["spec"]["training"]["script"]["command"]
    command[command.index("--epochs") + 1] = str(epochs)
    command[command.index("--checkpoints") + 1] = str(folder / "own-checkpoints")
    return LocalJob(folder, manifest)


def test_a_stock_ddp_script_runs_unchanged(tmp_path: Path) -> None:
    job = script_job(tmp_path, epochs=5)
    finish(job)
    assert "accuracy" in job.command("logs", job.name).stdout


def test_a_script_is_restarted_whole_when_a_process_is_killed_and_resumes_by_itself(tmp_path: Path) -> None:
    job = script_job(tmp_path, epochs=400)
    own = tmp_path / "own-checkpoints"

    def scripts() -> dict[int, Process]:
        return job.trainers()

    with job.running() as run:
        run.until("the script has saved", lambda: own.exists() and list(own.iterdir()), 120)
        before = scripts()
        assert set(before) == {0, 1}
        before[1].kill()
        run.until("both scripts are new ones", lambda: set(scripts()) == {0, 1} and not set(scripts().values()) & set(before.values()), 120)
        run.interrupt()
        assert run.ends().returncode == 130
    assert job.processes() == []
