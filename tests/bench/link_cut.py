"""link-cut: from the silent cut of the network between two of three workers to the end of the next step, in seconds.

Each worker has a network namespace of its own, and both sides have the same cut: worker 1, and whoever coordinates, hears all three.
Making namespaces needs root.
"""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path

from bench.figure import Figure, Sample, Target
from bench.peers.cut import CutPeer
from bench.training.job import TAIL, Size
from bench.training.place import in_turns
from bench.training.workload import Mark
from e2e.network.job import NetworkJob
from e2e.network.namespaces import Network, network
from local_job import until

SIZE = Size(width=512, layers=4, batch=96)
"""As in shrink."""
WORKERS = 3
TURNS = 3
SETTLED = 20
"""Steps that the whole group takes before the cut."""
PATIENCE = 120.0
LIMIT = 60.0
"""The peer is given up after so many seconds without a step, and counts with them."""
HEARTBEAT = 3.0
"""recovery.heartbeatTimeoutSeconds, as it is by default."""


def measure() -> list[Figure]:
    """Ours and the peer in turns."""
    ours, peers = in_turns(TURNS, 1.0, _ours, _peer)
    figure = Figure(
        "link-cut", "the network between two of three workers cut, to the end of the next step", "s", Sample.of(list(chain(*ours))),
        f"torchrun, given up after {LIMIT:.0f} s", Sample.of(list(chain(*peers))), (Target("max", at_most=HEARTBEAT + 2.0),),
    )  # fmt: skip
    return [figure]


def _ours(place: Path, turn: int) -> list[float]:
    with network(WORKERS) as net:
        job = NetworkJob(place, net, SIZE, steps=10**8)
        with job.running():
            return [_cut(net, job, PATIENCE)]


def _peer(place: Path, turn: int) -> list[float]:
    with network(WORKERS) as net:
        peer = CutPeer(place, net, SIZE)
        with peer.running():
            return [_cut(net, peer, LIMIT)]


def _cut(net: Network, job: NetworkJob | CutPeer, limit: float) -> float:
    until("all three train", lambda: _trains(job.seen(TAIL)), PATIENCE)
    groups = {pid: marks[-1].value for pid, marks in job.seen(TAIL).items() if marks}
    before = net.sent_again(0) + net.sent_again(2)
    began = time.monotonic()
    net.cut(0, 2)
    try:
        ends = until("the next step", lambda: _stepped(job.seen(TAIL), groups, began), limit)
    except AssertionError:
        ends = began + limit
    assert net.sent_again(0) + net.sent_again(2) > before, "nothing was dropped"
    assert not net.reaches(0, 2)
    return ends - began


def _trains(seen: dict[int, list[Mark]]) -> bool:
    newest = [marks[-1] for marks in seen.values() if marks]
    return len(newest) == WORKERS and min(mark.step for mark in newest) > SETTLED


def _stepped(seen: dict[int, list[Mark]], groups: dict[int, float], began: float) -> float | None:
    """When the first step that two processes have done in a group after the cut had ended; None: there is none yet."""
    ends = []
    for pid, marks in seen.items():
        later = [mark for mark in marks if mark.what == "begin" and mark.at > began and mark.value != groups.get(pid)]
        if len(later) > 1:
            ends.append(later[1].at)
    return max(ends) if len(ends) >= 2 else None
