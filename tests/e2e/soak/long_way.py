"""A long way between the pods of the test cluster's two nodes: every packet is held back for a while, and comes in order.

Not every kernel can delay packets, but all can hand them to a program. `python -m e2e.soak.long_way LEAST MOST` makes a tunnel between
the nodes that is the nearer way to each one's pods, and carries what comes so many milliseconds later. The way is there as long as
the program's stdin is open: however the test ends, tunnel and routes go with the program.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.commands import in_network, run
from cluster.layout import NODES, Node
from local_job import ROOT, until

SET_INTERFACE = 0x400454CA
TUNNEL, NO_HEADER = 0x0001, 0x1000
MOST_BYTES = 1 << 16
PACKETS_AT_ONCE = 64
HANDSHAKE = """
import socket, sys, time
began = time.perf_counter()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10):
    print((time.perf_counter() - began) * 1e3)
"""


def tunnel(node: Node, other: Node) -> int:
    """A node's end, as the nearer way to the other's pods; what is read from it is on its way there."""
    name = f"way-{other.number}"
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, SET_INTERFACE, struct.pack("16sH22x", name.encode(), TUNNEL | NO_HEADER))
    run(["ip", "link", "set", name, "netns", node.namespace.name])
    halves = [str(half) for half in ipaddress.ip_network(other.pod_range).subnets()]  # more exact than the cable's own route
    batch = [f"link set {name} up", *(f"route add {half} dev {name} src {node.address}" for half in halves)]
    run(["ip", "-n", node.namespace.name, "-batch", "-"], stdin="\n".join(batch))
    return descriptor


class Lane:
    """One direction: packets wait their time, in order."""

    def __init__(self, source: int, target: int, least: float, most: float) -> None:
        self.source, self.target, self.least, self.most = source, target, least, most
        self.carried = 0
        self._held: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """Take what has come. The wait begins after the read: a time from before it may be older than the packet."""
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(self.source, MOST_BYTES)
            except BlockingIOError:
                return
            due = time.monotonic() + random.uniform(self.least, self.most)
            self._held.append((max(due, self._held[-1][0]) if self._held else due, packet))

    def give(self, now: float) -> float:
        """Hand over what is due; seconds until there is more, at most 1."""
        while self._held and self._held[0][0] <= now:
            os.write(self.target, self._held.popleft()[1])
            self.carried += 1
        return min(1.0, self._held[0][0] - now) if self._held else 1.0


def carry(lanes: list[Lane]) -> None:
    """Until stdin ends."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    for lane in lanes:
        selector.register(lane.source, selectors.EVENT_READ, lane)
    wait = 1.0
    while True:
        ready = [key.data for key, _ in selector.select(wait)]
        if None in ready:
            return
        for lane in ready:
            lane.take()
        now = time.monotonic()
        wait = max(0.0, min(lane.give(now) for lane in lanes))


def main(least: float, most: float) -> None:
    """The program; prints a line when the way is open, and at the end how many packets it has carried."""
    one, other = NODES
    here, there = tunnel(one, other), tunnel(other, one)
    lanes = [Lane(here, there, least / 1e3, most / 1e3), Lane(there, here, least / 1e3, most / 1e3)]
    print("open", flush=True)
    carry(lanes)
    print(sum(lane.carried for lane in lanes), flush=True)


@contextmanager
def long_way(least_ms: float, most_ms: float) -> Iterator[list[int]]:
    """The way while the block runs. Afterwards the list has the number of packets that went over it."""
    words = [sys.executable, "-m", "e2e.soak.long_way", str(least_ms), str(most_ms)]
    carried: list[int] = []
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        try:
            yield carried
        finally:
            program.stdin.close()
            carried.append(int(program.stdout.read() or 0))
    until("the tunnel is gone", lambda: "way-" not in run(in_network(NODES[0], ["ip", "-brief", "link"])), 10)


def round_trip_ms(node: Node, address: str, port: int) -> float:
    """Milliseconds from a node to a listening pod and back, as a connection's handshake takes."""
    return float(run(in_network(node, [sys.executable, "-c", HANDSHAKE, address, port])))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
