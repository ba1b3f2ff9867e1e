"""What the kernel says of the connections to this process's peers, and to which of them nothing gets through.

Effects: reads /proc and sockets. A peer that computes, is throttled or is stopped still acknowledges what is sent to it: its kernel does.
Only where the network between the two is cut does the kernel send again and again, without an answer. So time alone is no evidence here,
and a slow peer none at all.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainingjob_api.contract.channel import Links
from trainingjob_api.contract.messages import Generation, GenerationId
from trainingjob_trainer.transport.sockets import Stream

ESTABLISHED, CONNECTING = 1, 2
LOOK_SECONDS = 0.25
"""Between two looks while this process waits."""
FIRST_LOOK_SECONDS = 0.4
"""Into a wait; nearly all are shorter, and cost nothing."""
_ACKED_AND_RECEIVED = struct.Struct("=QQ")
_ACKED_AT = 120
"""Where these lie in Linux' struct tcp_info."""


class Connection(NamedTuple):
    """One of this process's TCP connections, as /proc/net/tcp has it."""

    inode: int
    peer: str
    """The other side's IP address."""
    state: int
    retransmits: int
    """Times that the newest data was sent again since something was acknowledged last."""


def parse(table: str, own: frozenset[int]) -> list[Connection]:
    """Return the connections of the sockets `own` in a table of the form of /proc/net/tcp or tcp6."""
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        if int(columns[9]) in own:
            found.append(Connection(int(columns[9]), _address(columns[2].partition(":")[0]), int(columns[3], 16), int(columns[6], 16)))
    return found


def _address(word: str) -> str:
    """The kernel writes an address as words of 32 bits in the machine's order."""
    raw = b"".join(struct.pack("=I", int(word[at : at + 8], 16)) for at in range(0, len(word), 8))
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def connections() -> list[Connection]:
    """Return all TCP connections of this process; none where the kernel does not tell."""
    own = _sockets()
    found: list[Connection] = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError, ValueError, IndexError):
            found += parse(Path(f"/proc/self/net/{name}").read_text(), own)
    return found


def _sockets() -> frozenset[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - half the price of Path.iterdir
        with suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found.add(status.st_ino)
    return frozenset(found)


def moved(streams: Iterable[Stream]) -> int:
    """Return the bytes that these connections have had acknowledged and received so far, together."""
    total = 0
    for stream in streams:
        with suppress(OSError, struct.error):
            duplicate = os.dup(stream.descriptor)
            if os.fstat(duplicate).st_ino != stream.inode:
                os.close(duplicate)
                continue
            with socket.socket(fileno=duplicate) as connection:
                told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + _ACKED_AND_RECEIVED.size)
            total += sum(_ACKED_AND_RECEIVED.unpack_from(told, _ACKED_AT))
    return total


def addresses(generation: Generation, rank: int) -> Mapping[str, tuple[int, ...]]:
    """Return the workers at each IP address of the generation but this rank's own."""
    found: dict[str, set[int]] = {}
    for seat in generation.seats:
        with suppress(ValueError):
            found.setdefault(str(ipaddress.ip_address(seat.address)), set()).add(seat.member.worker)
    with suppress(ValueError):
        found.pop(str(ipaddress.ip_address(generation.seats[rank].address)), None)
    return {address: tuple(sorted(workers)) for address, workers in found.items()}


class LinkWatch:
    """Looks at the connections while this process waits for its peers, and tells what stands still.

    Args:
        tell: sends what is seen to the agent.
        patience_seconds: for how long a connection must get no answer to count as cut.
        clock: seconds, monotonic.
        look: the connections of this process.
        count: bytes that have moved on the given streams.
    """

    def __init__(
        self,
        tell: Callable[[Links], None],
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[], list[Connection]] = connections,
        count: Callable[[Iterable[Stream]], int] = moved,
    ) -> None:
        self._tell, self._patience, self._clock, self._connections, self._count = tell, patience_seconds, clock, look, count
        self._generation: GenerationId | None = None
        self._peers: Mapping[str, tuple[int, ...]] = {}
        self._unanswered: dict[int, float] = {}
        """Inode -> since when it is seen to get no answer."""
        self._began: float | None = None
        self._looked = 0.0
        self._moved = -1
        self._quiet = 0.0
        self._watched = False
        """The bytes have been counted in this generation."""
        self._told = Links(generation=GenerationId(0, 0, 0))

    def begin(self, generation: Generation, rank: int) -> None:
        """Another generation's group is formed from now on."""
        self._generation, self._peers = generation.id, addresses(generation, rank)
        self._unanswered, self._watched = {}, False
        self._told = Links(generation=generation.id)
        self.ended()

    def waits(self, streams: Iterable[Stream] | None) -> None:
        """This process still waits for its peers; `streams` are the group's connections, None while it is being formed. Call it often."""
        now = self._clock()
        if self._began is None:  # a group is seldom formed, and each look that it takes longer is one that training waits
            self._began = now if streams is not None else now - FIRST_LOOK_SECONDS
            self._looked = now if streams is not None else now - LOOK_SECONDS
        if now < self._began + FIRST_LOOK_SECONDS or now < self._looked + LOOK_SECONDS:
            return
        awake, self._looked = min(now - self._looked, 2 * LOOK_SECONDS), now
        if streams is not None:
            before, self._moved, self._watched = self._moved, self._count(streams), True
            self._quiet = self._quiet + awake if self._moved == before else 0.0
        self._say(self._cut_off(now), self._quiet)

    def ended(self) -> None:
        """The wait is over."""
        if self._began is None:
            return
        self._began, self._moved, self._quiet = None, -1, 0.0
        self._say((), 0.0)

    def _say(self, cut_off: tuple[int, ...], quiet: float) -> None:
        whole = float(int(quiet))
        if self._generation is None:
            return
        seen = Links(generation=self._generation, cut_off=cut_off, quiet_seconds=whole, watched=self._watched)
        if seen != self._told:
            self._told = seen
            self._tell(seen)

    def _cut_off(self, now: float) -> tuple[int, ...]:
        """The workers that do not answer: to whom data, or a call, was sent again, and without avail for long enough."""
        if not self._peers:
            return ()
        found = {connection.inode: connection for connection in self._connections() if connection.peer in self._peers}
        silent = {inode for inode, connection in found.items() if _is_unanswered(connection)}
        self._unanswered = {inode: self._unanswered.get(inode, now) for inode in silent}
        cut = {
            worker
            for inode, since in self._unanswered.items()
            if now >= since + self._patience and found[inode].retransmits
            for worker in self._peers[found[inode].peer]
        }
        return tuple(sorted(cut))


def _is_unanswered(connection: Connection) -> bool:
    return connection.state == CONNECTING or (connection.state == ESTABLISHED and connection.retransmits > 0)
