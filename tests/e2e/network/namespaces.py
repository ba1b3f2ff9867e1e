"""Network namespaces of their own for a few workers: each has one cable to a hub, which forwards between them and drops what is told to it.

All traffic stays in these namespaces: none of them has a way out. It needs root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HUB = "hub"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0)"


class Network:
    """A hub and `count` places."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._prefix = f"tj{os.getpid()}-"

    def address(self, place: int) -> str:
        """Of a worker's place."""
        return f"10.77.{place}.2"

    def hub_address(self, place: int) -> str:
        """Of the hub, as a place sees it."""
        return f"10.77.{place}.1"

    def inside(self, place: int | str, words: list[str]) -> list[str]:
        """The command that runs `words` in a place, or in the hub."""
        return ["ip", "netns", "exec", self._name(place), *words]

    def create(self) -> None:
        """Make it."""
        for place in (HUB, *range(self.count)):
            _run(["ip", "netns", "add", self._name(place)])
            _run(["ip", "-n", self._name(place), "link", "set", "lo", "up"])
        _run(self.inside(HUB, ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]))
        hub = self._name(HUB)
        for place in range(self.count):
            own = self._name(place)
            _run(["ip", "-n", hub, "link", "add", f"v{place}", "type", "veth", "peer", "name", "eth0", "netns", own])
            for name, link, address in ((hub, f"v{place}", self.hub_address(place)), (own, "eth0", self.address(place))):
                _run(["ip", "-n", name, "address", "add", f"{address}/24", "dev", link])
                _run(["ip", "-n", name, "link", "set", link, "up"])
            _run(["ip", "-n", own, "route", "add", "default", "via", self.hub_address(place)])

    def destroy(self) -> None:
        """Take it away."""
        for place in (*range(self.count), HUB):
            with suppress(subprocess.CalledProcessError):
                _run(["ip", "netns", "del", self._name(place)])

    def cut(self, one: int, other: int) -> None:
        """Drop, silently, whatever the two send each other."""
        for words in self._rules(one, other):
            _run(["ip", "-n", self._name(HUB), "rule", "add", *words])

    def heal(self, one: int, other: int) -> None:
        """Let it through again."""
        for words in self._rules(one, other):
            _run(["ip", "-n", self._name(HUB), "rule", "del", *words])

    def sent_again(self, place: int) -> int:
        """How many TCP segments this place has had to send again."""
        lines = subprocess.run(
            self.inside(place, ["cat", "/proc/net/snmp"]), check=True, capture_output=True, text=True
        ).stdout.splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("RetransSegs")])

    def reaches(self, one: int, other: int) -> bool:
        """A packet of the one gets to the other, and its answer back."""
        # Nobody listens there: where the way is open, the other's kernel says so at once.
        words = self.inside(one, ["python3", "-c", CONNECT, self.address(other), "9"])
        return b"Connection refused" in subprocess.run(words, capture_output=True, check=False).stderr

    def _rules(self, one: int, other: int) -> list[list[str]]:
        pairs = ((one, other), (other, one))
        return [["from", self.address(source), "to", self.address(target), "blackhole"] for source, target in pairs]

    def _name(self, place: int | str) -> str:
        return f"{self._prefix}{place}"


@contextmanager
def network(count: int) -> Iterator[Network]:
    """A network while the block runs."""
    made = Network(count)
    try:
        made.create()
        yield made
    finally:
        made.destroy()


def is_possible() -> bool:
    """This process may make network namespaces."""
    return os.geteuid() == 0 and Path("/proc/self/ns/net").exists()


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)
