"""Who only helps a job, and stands still, costs no step: the rendezvous, and the command that is its operator."""

from __future__ import annotations

import pytest

from digits_job import UNPACED, Make
from local_job import LocalJob, Process, Run
from stamped_steps import pace

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]


def rendezvous(job: LocalJob, run: Run) -> Process:
    return job.rendezvous()


def operator(job: LocalJob, run: Run) -> Process:
    found = Process.of(run.process.pid)
    assert found is not None
    return found


@pytest.mark.parametrize(("who", "seconds"), [(rendezvous, 25.0), (operator, 10.0)], ids=["rendezvous", "operator"])
def test_a_helper_that_stands_still_costs_no_step(make: Make, who, seconds: float) -> None:
    """The rendezvous: for longer than its agents take to give their connections up and to dial again."""
    job = make(f"without-{who.__name__}", training__task__class=UNPACED, training__epochs=100_000, checkpoint__everySteps=50)
    with job.running() as run:
        run.until("checkpoints", lambda: job.status().get("checkpoint", 0) >= 100)
        usual, pods = pace(job), job.pods()
        with who(job, run).paused(seconds):
            alone = pace(job, seconds)
        kept = job.status()["checkpoint"]
        run.until("a new checkpoint", lambda: job.status()["checkpoint"] > kept)
        run.interrupt()
        assert run.ends().returncode == 130
    assert alone >= 0.7 * usual, f"{alone:.0f} steps a second, {usual:.0f} before"
    assert job.status().get("restarts", 0) == 0
    assert len(pods) == 4
