"""stall: how long the loop waits for a checkpoint of 384 MiB, and what checkpoints cost the whole run; the peer is DCP's async_save."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path

from bench.figure import Figure, Sample, Target
from bench.peers.launch import ddp, started
from bench.training.job import BenchJob, Size
from bench.training.place import in_turns
from bench.training.workload import Mark, begins

SIZE = Size(width=2048, layers=8, batch=16, samples=512)
"""33.6 million weights, and AdamW's two numbers for each: 384 MiB."""
TURNS = 2
SAVE_EVERY = 16
STEPS = 6 * SAVE_EVERY + 1
PATIENCE = 240.0
PEER = "DCP async_save, one reused stager"
LIMIT = (Target("ratio", at_most=1.0),)


def measure() -> list[Figure]:
    """Ours and the peer in turns."""
    ours, peers = in_turns(TURNS, 4.0, _ours, _peer)
    stall = Figure(
        "stall", "the loop waits for a checkpoint of 384 MiB", "ms",
        Sample.of(_all(waits, ours)), PEER, Sample.of(_all(waits, peers)), LIMIT,
    )  # fmt: skip
    slower = Figure(
        "stall-slowdown", f"such a checkpoint every {SAVE_EVERY} steps makes the run slower by", "%",
        Sample.of(_all(slowdowns, ours)), PEER, Sample.of(_all(slowdowns, peers)), LIMIT,
    )  # fmt: skip
    return [stall, slower]


def _all(of, runs: list[list[Mark]]) -> list[float]:
    return [value for run in runs for value in of(run)]


def _ours(place: Path, _: int) -> list[Mark]:
    job = BenchJob(place, SIZE, workers=1, steps=STEPS, save_every=SAVE_EVERY)
    job.finishes(PATIENCE)
    (found,) = job.seen().values()
    return found


def _peer(place: Path, _: int) -> list[Mark]:
    with started(place, ddp(SIZE, 1, STEPS, SAVE_EVERY, place / "storage")) as peer:
        peer.ends(PATIENCE)
        (found,) = peer.seen().values()
        return found


def waits(found: list[Mark]) -> list[float]:
    """Milliseconds of each checkpoint but the first, which finds cold memory, and the last, which the run's end waits for."""
    return [mark.value * 1000 for mark in found if mark.what == "save"][1:-1]


def slowdowns(found: list[Mark]) -> list[float]:
    """From a checkpoint to the next: percent more time than as many steps take while nothing is being saved. Without the first interval."""
    at = begins(found)
    quiet = {mark.step for mark in found if mark.what == "quiet"}
    saves = [mark.step for mark in found if mark.what == "save"]
    # A step's time is that until the next one begins, so a checkpoint of step n is in the time of step n - 1.
    undisturbed = [at[step + 1] - at[step] for step in sorted(quiet) if step + 1 in quiet and step + 1 not in saves]
    assert len(undisturbed) >= len(saves), f"of {len(at)} steps only {len(undisturbed)} were undisturbed: save less often"
    usual = statistics.median(undisturbed)
    return [100 * ((at[after - 1] - at[before - 1]) / ((after - before) * usual) - 1) for before, after in pairwise(saves[1:])]
