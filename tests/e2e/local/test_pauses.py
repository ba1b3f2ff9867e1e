"""Processes of a job are stopped for ten seconds, and go on. Two oracles: they stood still; nothing was replaced, and the result is that
of a run without pauses.
"""

from __future__ import annotations

import re

import pytest

from digits_job import Make, weights
from local_job import LocalJob

pytestmark = pytest.mark.timeout(420)

SECONDS = 10.0


def told(job: LocalJob, words: str) -> list[str]:
    """The lines of the rendezvous' log that have these words."""
    (text,) = [path.read_text() for path in (job.own / "pods").glob("*rendezvous*.log")]
    return [line for line in text.splitlines() if re.search(words, line)]


def saves(job: LocalJob) -> int:
    """How many saves have been begun in storage."""
    return len(list((job.storage / "saves").glob("*")))


def test_a_pause_of_each_kind_of_process_costs_no_worker_and_no_bit(make: Make, undisturbed: LocalJob) -> None:
    job = make()
    with job.running() as run:
        run.until_step(40)
        before, trainers = job.pods(), job.trainers()
        generations = told(job, "propose ")
        assert set(trainers) == {0, 1, 2}

        with job.rendezvous().paused(SECONDS):
            begun = saves(job)
            run.until("training goes on without it", lambda: saves(job) > begun)
            with trainers[1].paused(SECONDS):
                stands = job.step()
        run.until_step(stands + 40)
        assert max(float(line.split()[-2]) for line in told(job, "paused for ")) > SECONDS - 1, "it has missed the time"
        assert told(job, "propose ") == generations, "the generation is the same: nobody was evicted, and who is slow is waited for"
        assert told(job, "is gone") == []
        assert job.status()["rendezvous"] == {"epoch": 1, "seen": True}

        agent, _ = job.workers()[2]
        with agent.paused(SECONDS):
            run.until("it is missed", lambda: told(job, r"worker 2\.0 is gone: nothing heard of it"))
            run.until("its generation is over", lambda: told(job, "over a1"))
        run.until("it is back", lambda: len(told(job, r"worker 2\.0 connected")) == 2)
        run.until("three train again", lambda: job.status()["readyWorkers"] == 3)
        assert job.pods() == before, "ten seconds of silence are no reason for another pod"
        assert job.trainers() == trainers
        assert run.ends().returncode == 0
    status = job.status()
    assert (status["workers"], status.get("restarts", 0), status["attempt"]) == ([0, 0, 0], 0, 1)
    assert [entry["kind"] for entry in job.log()].count("fence") == 1, "all kept what they had in memory"
    assert job.processes() == []
    assert weights(job) == weights(undisturbed)
