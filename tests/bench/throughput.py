"""throughput: samples a second of two workers in steady state, with a checkpoint every 20 steps; the peer is DDP under torchrun."""

from __future__ import annotations

from pathlib import Path

from bench.figure import Figure, Sample, Target
from bench.peers.launch import ddp, started
from bench.training.job import BenchJob, Size
from bench.training.place import in_turns
from bench.training.workload import Mark, begins

SIZE = Size(width=1024, layers=4, batch=128)
TURNS = 3
SAVE_EVERY = 20
FIRST, LAST = 2 * SAVE_EVERY, 8 * SAVE_EVERY
"""The steps that count: as many checkpoints lie between their beginnings as intervals."""
PATIENCE = 240.0


def measure() -> list[Figure]:
    """Ours and the peer in turns."""
    ours, peers = in_turns(TURNS, 1.0, _ours, _peer)
    figure = Figure(
        "throughput", "throughput of two workers, checkpoints every 20 steps", "samples/s", Sample.of(ours),
        "torchrun, DDP, DCP async_save", Sample.of(peers), (Target("ratio", at_least=0.98),),
    )  # fmt: skip
    return [figure]


def _ours(place: Path, _: int) -> float:
    job = BenchJob(place, SIZE, workers=2, steps=LAST + 1, save_every=SAVE_EVERY)
    job.finishes(PATIENCE)
    return rate(job.seen())


def _peer(place: Path, _: int) -> float:
    with started(place, ddp(SIZE, 2, LAST + 1, SAVE_EVERY, place / "storage")) as peer:
        peer.ends(PATIENCE)
        return rate(peer.seen())


def rate(seen: dict[int, list[Mark]]) -> float:
    """Samples a second between the first and the last step that count, by the slower process; each of the two made all checkpoints."""
    assert len(seen) == 2, f"two processes were to train, not {sorted(seen)}"
    seconds = []
    for found in seen.values():
        saves = sum(mark.what == "save" and FIRST < mark.step <= LAST for mark in found)
        assert saves == (LAST - FIRST) // SAVE_EVERY, f"{saves} checkpoints"
        at = begins(found)
        seconds.append(at[LAST] - at[FIRST])
    assert max(seconds) / (LAST - FIRST) >= 0.05, "a step is to take 50 ms at least: make the workload larger"
    return (LAST - FIRST) * SIZE.batch / max(seconds)
