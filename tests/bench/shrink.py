"""kill -9 of one of three training processes -> the next finished step of the others: ours, and torchrun's.

Ours is read from the stamp pages of the survivors: the first step that is finished in a generation without the victim.
torchrun restarts all processes; its time is to the first step that all of them have finished again. Both run the same
model (12 MB of state) on this machine, in turns.
"""

from __future__ import annotations

import argparse
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import write
from local_job import ROOT, LocalJob, Process, children, until
from trainingjob_agent.stamp import Stamp, read_stamp
from trainingjob_api.contract.messages import Phase

NANO = 1e9


def manifest() -> dict:
    spec = {
        "workers": {"replicas": 3, "minReplicas": 2},
        "training": {
            "task": {"class": "tasks.wide:Wide"},
            "optimizer": {"name": "AdamW", "learningRate": 1e-4},
            "globalBatchSize": 96,
            "steps": 10**7,
            "split": {"validation": 0.0, "test": 0.0},
        },
        "checkpoint": {"storage": {"uri": "file:///unset"}, "everySteps": 100},
        "recovery": {"maxFailures": 1000},
    }
    return {"apiVersion": "batch.trainingjob.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "shrink"}, "spec": spec}


@contextmanager
def stamps(job: LocalJob) -> Iterator[dict[int, mmap.mmap]]:
    """The stamp pages of all workers, by index."""
    pages = {}
    for index, (agent, _) in job.workers().items():
        for path in Path(f"/proc/{agent.pid}/fd").iterdir():
            if "memfd:stamp" in str(path.readlink()):
                with path.open("rb") as file:
                    pages[index] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    try:
        yield pages
    finally:
        for page in pages.values():
            page.close()


def finished_after(page: mmap.mmap, before: Stamp, deadline: float) -> int:
    """When the first step of a later generation was finished, monotonic nanoseconds."""
    first: int | None = None
    while True:
        stamp = read_stamp(page)
        assert time.monotonic() < deadline, f"no step after {stamp}"
        if (
            stamp.generation is None
            or before.generation is None
            or stamp.generation <= before.generation
            or stamp.phase is not Phase.STEPPING
        ):
            first = None
        elif first is None:
            first = stamp.step
        elif stamp.step is not None and stamp.step > first:
            return stamp.changed_ns


def ours_once(job: LocalJob, victim: int) -> float:
    """Kill one worker's training process while all three step; seconds until both others have finished a step without it."""

    def all_step() -> bool:
        with stamps(job) as pages:
            seen = [read_stamp(page) for page in pages.values()]
        generations = {stamp.generation for stamp in seen}
        return len(seen) == 3 and len(generations) == 1 and all(stamp.phase is Phase.STEPPING and stamp.step for stamp in seen)

    until("three workers step", all_step, 120)
    settled = job.step()
    until("they go on", lambda: job.step() > settled + 20, 120)
    with stamps(job) as pages:
        others = {index: page for index, page in pages.items() if index != victim}
        before = {index: read_stamp(page) for index, page in others.items()}
        process = job.trainers()[victim]
        began = time.monotonic_ns()
        process.kill()
        ended = max(finished_after(page, before[index], time.monotonic() + 60) for index, page in others.items())
    assert not process.lives()
    return (ended - began) / NANO


def ours(kills: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        job = LocalJob(Path(folder), manifest())
        os.environ["PYTHONPATH"] = str(ROOT / "tests" / "bench")
        with job.running():
            return [ours_once(job, kill % 3) for kill in range(kills)]


def last_notes(folder: Path) -> dict[str, tuple[int, int]]:
    """Of the newest start: file -> (number of steps, time of the first one)."""
    files = [path for path in folder.iterdir() if path.stat().st_size]
    newest = max((int(re.match(r"\d+", path.name)[0]) for path in files), default=-1)
    return {
        path.name: (path.read_text().count("\n"), int(path.read_text().split("\n")[0].split()[1]))
        for path in files
        if path.name.startswith(f"{newest}-")
    }


def peers(kills: int) -> list[float]:
    """torchrun's own times: one agent for three processes, which spares it the wait for other machines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "--max-restarts=1000"]
        command += ["--monitor-interval=0.1", "--rdzv-conf=last_call_timeout=1", "-m", "tasks.elastic", name]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "bench"), "OMP_NUM_THREADS": "1"}
        with (folder.parent / f"{folder.name}.log").open("w") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            return [peer_once(folder, process.pid, kill) for kill in range(kills)]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def peer_once(folder: Path, pid: int, number: int) -> float:
    def running() -> list[Process]:
        notes = last_notes(folder)
        workers = [child for child in children(pid) if any(name.endswith(f".{child.pid}") for name in notes)]
        return workers if len(notes) == 3 == len(workers) and all(steps > 50 for steps, _ in notes.values()) else []

    workers = until("three processes step", running, 120)
    old = set(last_notes(folder))
    began = time.monotonic_ns()
    workers[number % 3].kill()
    until("they step again", lambda: len(last_notes(folder)) == 3 and not old & set(last_notes(folder)), 120)
    return (max(first for _, first in last_notes(folder).values()) - began) / NANO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=4, help="of each, in each round")
    asked = parser.parse_args()
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(asked.rounds):
        mine += ours(asked.kills)
        theirs += peers(asked.kills)
    write(
        "shrink",
        "kill -9 of one of 3 training processes (12 MB of state) -> next finished step",
        "s",
        mine,
        ("torchrun elastic, one agent, monitor interval 0.1 s", theirs),
        "ratio <= 0.05, median <= 0.3 s",
    )


if __name__ == "__main__":
    main()
