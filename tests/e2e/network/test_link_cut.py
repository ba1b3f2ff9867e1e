"""The network between two workers is cut, silently, while the rendezvous hears both. The others go on, and the result is right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.training.job import TAIL, Size
from bench.training.workload import Mark
from e2e.network.job import NetworkJob
from e2e.network.namespaces import is_possible, network
from local_job import Process, children, until

pytestmark = [pytest.mark.timeout(280), pytest.mark.skipif(not is_possible(), reason="making network namespaces needs root")]

SIZE = Size(width=64, layers=2, batch=96)
STEPS = 1500
HEARTBEAT = 3.0
BOUND = HEARTBEAT + 2.0


def begun(seen: dict[int, list[Mark]], group: float) -> float | None:
    """When the second step of a group after `group` began at two processes: the first one is done."""
    found = []
    for marks in seen.values():
        later = [mark for mark in marks if mark.what == "begin" and mark.value > group]
        if len(later) > 1:
            found.append(later[1].at)
    return max(found) if len(found) >= 2 else None


def newest(seen: dict[int, list[Mark]]) -> list[Mark]:
    """The newest begin of every process that has begun a step."""
    begins = ([mark for mark in marks if mark.what == "begin"] for marks in seen.values())
    return [marks[-1] for marks in begins if marks]


def trains(job: NetworkJob, workers: int, steps: int) -> bool:
    """So many processes have taken so many steps."""
    found = newest(job.seen(TAIL))
    return len(found) == workers and min(mark.step for mark in found) > steps


@pytest.mark.alone
def test_a_cut_between_two_workers_costs_seconds_and_the_one_alone_on_its_node_is_left_out(tmp_path: Path) -> None:
    with network(3) as net:
        job = NetworkJob(tmp_path / "job", net, SIZE, steps=10**8)
        with job.running():
            until("all three train", lambda: trains(job, 3, 50), 120)
            assert net.reaches(0, 2)
            group, before = max(mark.value for mark in newest(job.seen(TAIL))), net.sent_again(0) + net.sent_again(2)
            began = time.monotonic()
            net.cut(0, 2)
            at = until("two go on", lambda: begun(job.seen(TAIL), group), 60)
            print(f"cut to the end of the next step: {at - began:.2f} s")
            assert not net.reaches(0, 2), "the two are cut"
            assert net.reaches(0, 1)
            assert net.sent_again(0) + net.sent_again(2) > before, "what they sent each other was dropped"
            assert at - began <= BOUND
            told = until("it is told", lambda: [report for report in job.reports() if report["links"]], 10)[-1]
            assert told["links"] == "workers 0 and 2 cannot reach each other: worker 2 is left out"
            assert told["failure_count"] == 0
            until("two are seen to train", lambda: job.reports()[-1]["world"] == 2, 10)


def test_the_result_is_that_of_a_run_without_the_cut(tmp_path: Path) -> None:
    models = []
    for cut in (False, True):
        with network(3) as net:
            job = NetworkJob(tmp_path / f"cut-{cut}", net, SIZE, steps=STEPS, reduction="Deterministic")
            with job.running():
                until("all three train", lambda job=job: trains(job, 3, 50), 120)
                if cut:
                    net.cut(0, 2)
                job.ends(200)
            models.append(job.model())
            assert ("cannot reach each other" in job.said("rendezvous")) == cut
    assert models[0] == models[1], "not one sample was lost or counted twice"


def test_a_peer_that_is_stopped_is_no_cut_and_is_named(tmp_path: Path) -> None:
    with network(3) as net:
        job = NetworkJob(tmp_path / "job", net, SIZE, steps=10**8)
        with job.running():
            until("all three train", lambda: trains(job, 3, 50), 120)
            victim = Process.of(trainer_of(job, 2))
            assert victim is not None
            group = max(mark.value for mark in newest(job.seen(TAIL)))
            with victim.paused(1.0):
                told = until("the stall is told", lambda: [report for report in job.reports() if report["stalled"]], 30)[0]
                assert (told["stalled"], told["waits_for"]) == ("Hang", "worker 2 is stopped by a signal")
                assert told["samples_per_second"] == 0.0
            until("it is taken back", lambda: not job.reports()[-1]["stalled"], 30)
            assert {mark.value for mark in newest(job.seen(TAIL))} == {group}, "nobody regrouped"
            assert not [report for report in job.reports() if report["links"]]


def trainer_of(job: NetworkJob, worker: int) -> int:
    """The process id of a worker's training process."""
    agent = job.processes[1 + worker]
    (trainer,) = [process for process in children(agent.pid) if process.pid in job.seen(TAIL)]
    return trainer.pid
