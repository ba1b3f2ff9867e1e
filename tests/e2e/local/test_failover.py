"""Something is killed while a job trains. Two oracles each: it was really killed, and the job ends as if it had not been.

The job never trains with fewer than three workers, so the model must equal the undisturbed run's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from digits_job import UNPACED, Make, digits, weights
from local_job import LocalJob, Process, Run
from witness import witness_of

pytestmark = pytest.mark.timeout(420)


class WitnessedJob(LocalJob):
    """A job whose status is held against the steps that are really taken, for as long as it runs."""

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Run]:
        with witness_of(self).watching(), super().running(*arguments) as run:
            yield run


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a digits job that has a witness."""

    def made(name: str = "job", **changes: Any) -> LocalJob:
        return WitnessedJob(tmp_path / name, digits(**changes))

    return made


def kill_and_finish(job: LocalJob, run: Run, victim: Process, replaced: Callable[[], bool]) -> None:
    """Kill, see that the victim is replaced and training goes on, and wait for the end."""
    at = job.step()
    victim.kill()
    run.until("the lost one is replaced", replaced)
    run.until_step(at + 40)
    ended = run.ends()
    assert ended.returncode == 0, ended.stdout
    assert job.processes() == []


@pytest.mark.parametrize("worker", [0, 1, 2])
def test_a_killed_training_process_comes_back_in_its_slot_and_changes_no_bit(make: Make, undisturbed: LocalJob, worker: int) -> None:
    job = make()
    with job.running() as run:
        run.until_step(50)
        before = job.trainers()
        assert set(before) == {0, 1, 2}

        def replaced() -> bool:
            now = job.trainers()
            return set(now) == {0, 1, 2} and now[worker] != before[worker]

        agents = {index: agent for index, (agent, _) in job.workers().items()}
        kill_and_finish(job, run, before[worker], replaced)
    assert agents.keys() == {0, 1, 2}
    assert weights(job) == weights(undisturbed)


def test_the_survivors_of_a_killed_training_process_keep_theirs(make: Make) -> None:
    job = make(workers__minReplicas=2)
    with job.running() as run:
        run.until_step(50)
        before = job.trainers()
        before[0].kill()
        run.until("worker 0 has a new training process", lambda: job.trainers().get(0) not in (None, before[0]))
        run.until_step(job.step() + 50)
        assert {1: before[1], 2: before[2]}.items() <= job.trainers().items()
        assert run.ends().returncode == 0
    assert job.status()["metrics"]["accuracy"] >= 0.95
    assert [entry["kind"] for entry in job.log()].count("fence") == 1, "the survivors' state was in memory: nothing had to be restored"


def test_a_killed_agent_is_replaced_under_a_new_incarnation_and_changes_no_bit(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until_step(50)
        before = job.workers()
        agent, (trainer,) = before[1]

        def replaced() -> bool:
            now = job.workers()
            return 1 in now and now[1][0] != agent and len(now[1][1]) == 1

        kill_and_finish(job, run, agent, replaced)
        assert not trainer.lives(), "a training process does not outlive its agent"
    assert weights(job) == weights(undisturbed)
    assert job.status()["workers"][1] > 0, "the incarnation grew"


def test_training_goes_on_without_the_rendezvous_and_the_next_one_adopts_it(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until_step(50)
        before, victim = job.trainers(), job.rendezvous()
        at = job.step()
        victim.kill()
        run.until("a new rendezvous", lambda: [name for name, process in job.pods().items() if "rendezvous" in name and process != victim])
        run.until_step(at + 50)
        assert job.trainers() == before, "no training process was restarted"
        assert run.ends().returncode == 0
    assert weights(job) == weights(undisturbed)
    (told,) = [path.read_text() for path in (job.own / "pods").glob("*rendezvous*.log")]
    assert "adopt" in told
    assert [entry["kind"] for entry in job.log()].count("fence") == 1


def test_all_workers_killed_at_once_resume_from_the_newest_checkpoint(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until("a checkpoint", job.checkpoints)
        victims = [agent for agent, _ in job.workers().values()]
        for victim in victims:
            victim.kill()
        assert run.ends().returncode == 0
    assert len(victims) == 3
    assert weights(job) == weights(undisturbed)
    assert job.status()["attempt"] == 2


def test_the_killed_operator_is_taken_over_by_the_next_and_training_never_stops(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until_step(40)
        before = job.pods()
        run.process.kill()
        run.process.wait()
        assert job.pods() == before, "the pods live without the operator"
        with job.running() as second:
            second.until_step(50)
            assert job.pods() == before, "the next operator adopts them"
            assert second.ends().returncode == 0
        assert job.processes() == []
    assert weights(job) == weights(undisturbed)


def test_a_warm_spare_takes_the_slot_of_a_lost_worker(make: Make) -> None:
    # A spare is asked for once the others train, and imports torch beside them: the job must take longer than that.
    long = {"training__task__class": UNPACED, "training__epochs": 400}
    job = make(workers__replicas=2, workers__minReplicas=2, workers__spares=1, **long)

    def spare() -> str:
        return "".join(path.read_text() for path in (job.own / "pods").glob("*worker-2-*.log"))

    with job.running() as run:
        run.until("the spare is warm", lambda: "built trainingjob_trainer" in spare())
        run.until_step(job.step() + 50)
        assert "rank" not in spare(), "a spare holds no rank"
        survivor = job.trainers()[0]
        job.workers()[1][0].kill()
        run.until("the spare trains", lambda: "rank 1 of 2" in spare())
        assert job.trainers()[0] == survivor
        assert run.ends().returncode == 0
    assert job.status()["metrics"]["accuracy"] >= 0.95
    assert job.processes() == []
