"""store-frozen: the pace of two workers while their S3 server stands still, against that while it runs; the peer is DCP's async_save to it.

One run each, in which the server runs and stands still in turns (SIGSTOP, SIGCONT): what changes with the machine changes for both.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure, Sample, Target
from bench.peers.launch import ddp, started
from bench.training.job import BenchJob, Size
from bench.training.place import in_turns
from bench.training.workload import Mark
from s3_server import Server, built, running

SIZE = Size(width=256, layers=4, batch=256)
"""0.26 million weights: 3 MB of state. What is measured is the loop, not the copying."""
SAVE_EVERY = 20
STEPS = 1_000_000
WINDOWS = 4
"""So often the server runs, and so often it stands still."""
SECONDS = 4.0
SETTLE_SECONDS = 2.0
"""Before a window counts: the buffers fill, or what has been waiting is stored."""
TAIL = 1 << 18
PATIENCE = 90.0


def measure() -> list[Figure]:
    """Ours and the peer, one run each."""
    program = built()
    ours, peers = in_turns(1, 1.0, lambda place, _: _ours(place, program), lambda place, _: _peer(place, program))
    ratios, beside = ([ratio for run in runs for ratio in run] for runs in (ours, peers))
    return [
        Figure(
            "store-frozen",
            "steps a second while the S3 server stands still, of those while it runs",
            "of 1",
            Sample.of(ratios),
            "torchrun, DDP, DCP async_save to S3",
            Sample.of(beside),
            (Target("median", at_least=0.99),),
        )
    ]


def _ours(place: Path, program: str) -> list[float]:
    place.mkdir()
    with running(program, place) as server:
        job = S3Job(place / "job", server)
        with job.training(2 * SAVE_EVERY, PATIENCE):
            return ratios(server, lambda: job.seen(TAIL))


def _peer(place: Path, program: str) -> list[float]:
    place.mkdir()
    with running(program, place) as server:
        bucket = server.bucket()
        command = [*ddp(SIZE, 2, STEPS, SAVE_EVERY, Path("dcp")), f"--endpoint={server.endpoint}", f"--bucket={bucket.name}"]
        with started(place / "marks", command, bucket.environ) as peer:
            peer.until("it trains", lambda: _newest(peer.seen(TAIL)) >= 2 * SAVE_EVERY, PATIENCE)
            return ratios(server, lambda: peer.seen(TAIL))


class S3Job(BenchJob):
    """The workload with its checkpoints on an S3 server."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, SIZE, workers=2, steps=STEPS, save_every=SAVE_EVERY)
        self._bucket = server.bucket()
        self.manifest["spec"]["checkpoint"]["storage"] = self._bucket.storage()
        self.write()

    def environment(self) -> dict[str, str]:
        """With the server's keys."""
        return {**super().environment(), **self._bucket.environ}


def ratios(server: Server, seen: Callable[[], dict[int, list[Mark]]]) -> list[float]:
    """The pace in each window in which the server stands still, over the mean of the windows around it."""
    running_paces, frozen_paces = [_pace(seen)], []
    for _ in range(WINDOWS):
        with frozen(server):
            frozen_paces.append(_pace(seen))
        running_paces.append(_pace(seen))
    around = [statistics.mean(running_paces[at : at + 2]) for at in range(WINDOWS)]
    return [pace / usual for pace, usual in zip(frozen_paces, around, strict=True)]


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """The server stands still; and proof that it did."""
    with server.process.paused(0.0):
        yield


def _pace(seen: Callable[[], dict[int, list[Mark]]]) -> float:
    """Steps a second of the slowest process, after it has settled."""
    _wait(SETTLE_SECONDS)
    began, before = time.monotonic(), _steps(seen())
    _wait(SECONDS)
    after = _steps(seen())
    return min(after[process] - before[process] for process in before) / (time.monotonic() - began)


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _steps(seen: dict[int, list[Mark]]) -> dict[int, int]:
    """Process -> the newest step that it has begun."""
    return {process: max(mark.step for mark in found if mark.what == "begin") for process, found in seen.items()}


def _newest(seen: dict[int, list[Mark]]) -> int:
    return max((mark.step for found in seen.values() for mark in found), default=-1)
