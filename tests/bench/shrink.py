"""shrink: from the kill -9 of one of three training processes to the end of the next step of those that train on, in seconds.

Ours: the two survivors. The peer, torchrun, restarts all three processes: the first step of each of them is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from bench.figure import Figure, Sample, Target
from bench.peers.launch import Peer, elastic, started
from bench.training.job import TAIL, BenchJob, Size
from bench.training.place import in_turns
from bench.training.workload import Mark
from local_job import Process, Run

SIZE = Size(width=512, layers=4, batch=96)
"""1.05 million weights, and AdamW's two numbers for each: 12 MiB."""
WORKERS = 3
TURNS = 3
OUR_KILLS, PEER_KILLS = 3, 2
"""Of a turn."""
SAVE_EVERY = 100
SETTLED = 20
"""Steps that a whole group takes before the next kill."""
PATIENCE = 120.0
FOR_EVER = 10**8


def measure() -> list[Figure]:
    """Ours and the peer in turns; then both with two processes beside each training process that fetch its batches."""
    what = "kill -9 of one of three training processes, to the end of the next step"
    return [_figure("shrink", what, SIZE), _figure("shrink-loaders", f"{what}; each has two loader processes", replace(SIZE, loaders=2))]


def _figure(name: str, what: str, size: Size) -> Figure:
    ours, peers = in_turns(TURNS, 1.0, partial(_ours, size), partial(_peer, size))
    return Figure(
        name, what, "s", Sample.of(list(chain(*ours))), "torchrun, monitor interval 0.1 s", Sample.of(list(chain(*peers))),
        (Target("ratio", at_most=0.05), Target("median", at_most=0.3)),
    )  # fmt: skip


def _ours(size: Size, place: Path, turn: int) -> list[float]:
    job = BenchJob(place, size, WORKERS, FOR_EVER, SAVE_EVERY)
    found = []
    with job.training(seconds=PATIENCE) as run:
        for kill in range(OUR_KILLS):
            run.until("all three train", lambda: trains(job.seen(TAIL), job.trainers().values()), PATIENCE)
            trainers = job.trainers()
            victim = trainers.pop((turn + kill) % WORKERS)
            found.append(_killed(run, job, victim, list(trainers.values())))
    return found


def _killed(run: Run, job: BenchJob, victim: Process, survivors: list[Process]) -> float:
    before = _group(job.seen(TAIL), victim.pid)
    began = time.monotonic()
    victim.kill()
    pids = [process.pid for process in survivors]
    ends = run.until("the survivors have finished a step", lambda: first_ends(job.seen(TAIL), pids, before), PATIENCE)
    assert all(process.lives() for process in survivors), "the survivors were restarted"
    return max(ends) - began


def _peer(size: Size, place: Path, turn: int) -> list[float]:
    found = []
    with started(place, elastic(size, WORKERS, SAVE_EVERY, place)) as peer:
        for kill in range(PEER_KILLS):
            workers = peer.until("all three train", lambda: trains(peer.seen(TAIL), peer.workers()), PATIENCE)
            found.append(_restarted(peer, workers[(turn + kill) % WORKERS]))
    return found


def _restarted(peer: Peer, victim: Process) -> float:
    before = _group(peer.seen(TAIL), victim.pid)
    began = time.monotonic()
    victim.kill()

    def ends() -> list[float] | None:
        pids = [process.pid for process in peer.workers()]
        return first_ends(peer.seen(TAIL), pids, before) if len(pids) == WORKERS else None

    return max(peer.until("the restarted processes have finished a step", ends, PATIENCE)) - began


def trains(seen: Mapping[int, list[Mark]], processes) -> list[Process] | None:
    """The processes, in the order of their ids, once all three have taken some steps in one group."""
    found = sorted(processes, key=lambda process: process.pid)
    newest = [_begins(seen.get(process.pid, [])) for process in found]
    if len(found) != WORKERS or not all(newest):
        return None
    groups = {marks[-1].value for marks in newest}
    return found if len(groups) == 1 and all(sum(mark.value in groups for mark in marks) > SETTLED for marks in newest) else None


def first_ends(seen: Mapping[int, list[Mark]], pids: list[int], before: float) -> list[float] | None:
    """When each of the processes ended its first step in a group after `before`; None until all have."""
    ends = []
    for pid in pids:
        later = [mark for mark in _begins(seen.get(pid, [])) if mark.value > before]
        if len(later) < 2:
            return None
        assert later[1].step == later[0].step + 1, later[:2]
        ends.append(later[1].at)
    return ends


def _group(seen: Mapping[int, list[Mark]], pid: int) -> float:
    return _begins(seen[pid])[-1].value


def _begins(marks: list[Mark]) -> list[Mark]:
    return [mark for mark in marks if mark.what == "begin"]
