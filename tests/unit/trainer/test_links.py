"""Which peers do not answer, by what the kernel says of the connections; and what is no evidence of that."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from trainingjob_api.contract.channel import Links
from trainingjob_api.contract.messages import Generation, GenerationId, MemberId, Seat, Source
from trainingjob_trainer.transport import sockets
from trainingjob_trainer.transport.links import CONNECTING, ESTABLISHED, Connection, LinkWatch, addresses, connections, moved, parse

PATIENCE = 1.5
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1207 1 000000008a57f9e5 100 0 0 10 0
   1: 02024D0A:8D68 02004D0A:8179 02 00000001:00000000 01:0000003E 00000001     0        0 141706 2 000000000ebb16c6 100 0 0 1 -1
   2: 02014D0A:9EDC 02004D0A:8179 01 00000000:00000000 00:00000000 00000000     0        0 141703 1 00000000ff24ad47 20 0 0 11 -1
"""
TABLE6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 0000000000000000FFFF00000100007F:8297 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 00:00000000 00000003 0 0 5 1 0
   1: B80D01200000000000000000010000AA:0050 B80D01200000000000000000020000AA:0050 01 00000000:00000000 00:00000000 00000000 0 0 6 1 0
"""


def generation(*hosts: str) -> Generation:
    seats = tuple(Seat(member=MemberId(number, 0, 0, 0), slot=number, address=host) for number, host in enumerate(hosts))
    return Generation(id=GenerationId(1, 1, 4), seats=seats, source=Source(kind="Storage"))


THREE = generation("10.0.0.1", "10.0.0.2", "10.0.0.3")


class Scene:
    """A watch of rank 0, and what it sees and tells."""

    def __init__(self, seen: Generation = THREE) -> None:
        self.now = 100.0
        self.connections: list[Connection] = []
        self.bytes = 0
        self.told: list[Links] = []
        self.looks = 0
        self.watch = LinkWatch(self.told.append, PATIENCE, lambda: self.now, self._look, lambda streams: self.bytes)
        self.watch.begin(seen, 0)

    def wait(self, seconds: float, *, forming: bool = False, tick: float = 0.1) -> None:
        for _ in range(round(seconds / tick)):
            self.now += tick
            self.watch.waits(None if forming else ())

    def _look(self) -> list[Connection]:
        self.looks += 1
        return self.connections


def unanswered(peer: str, inode: int = 1, state: int = ESTABLISHED, retransmits: int = 2) -> Connection:
    return Connection(inode, peer, state, retransmits)


def test_the_kernels_tables_are_read() -> None:
    assert parse(TABLE, frozenset({141706, 141703})) == [
        Connection(141706, "10.77.0.2", CONNECTING, 1),
        Connection(141703, "10.77.0.2", ESTABLISHED, 0),
    ]
    assert parse(TABLE6, frozenset({5, 6})) == [
        Connection(5, "127.0.0.1", ESTABLISHED, 3),
        Connection(6, "2001:db8::aa00:2", ESTABLISHED, 0),
    ]


def test_a_peer_that_acknowledges_nothing_is_named_after_a_while() -> None:
    scene = Scene()
    scene.connections = [unanswered("10.0.0.3"), unanswered("10.0.0.2", inode=2, retransmits=0)]
    scene.wait(PATIENCE)
    assert not [links for links in scene.told if links.cut_off]
    scene.wait(1.0)
    assert (scene.told[-1].cut_off, scene.told[-1].generation) == ((2,), THREE.id)


def test_a_call_that_is_not_answered_counts_while_the_group_is_formed() -> None:
    scene = Scene()
    scene.connections = [unanswered("10.0.0.2", state=CONNECTING, retransmits=0)]
    scene.wait(3 * PATIENCE, forming=True)
    assert scene.told == [], "the call was not even repeated"
    scene.connections = [unanswered("10.0.0.2", state=CONNECTING, retransmits=1)]
    scene.wait(0.5, forming=True)
    assert [links.cut_off for links in scene.told] == [(1,)]


def test_an_acknowledgement_takes_it_back() -> None:
    scene = Scene()
    scene.connections = [unanswered("10.0.0.3")]
    scene.wait(PATIENCE)
    scene.connections = [unanswered("10.0.0.3", retransmits=0)]
    scene.wait(0.5)
    scene.connections = [unanswered("10.0.0.3")]
    scene.wait(PATIENCE)
    assert not [links for links in scene.told if links.cut_off]


def test_time_alone_is_no_evidence() -> None:
    scene = Scene()
    scene.connections = [unanswered("10.0.0.2", retransmits=0), unanswered("10.0.0.3", inode=2, retransmits=0)]
    scene.wait(600.0)
    assert not [links for links in scene.told if links.cut_off]


def test_short_waits_cost_no_look() -> None:
    scene = Scene()
    for _ in range(100):
        scene.wait(0.3)
        scene.watch.ended()
    assert (scene.looks, scene.told) == (0, [])


def test_the_end_of_a_wait_takes_back_what_was_told() -> None:
    scene = Scene()
    scene.connections = [unanswered("10.0.0.3")]
    scene.wait(3.0)
    assert scene.told[-1].cut_off == (2,)
    scene.watch.ended()
    assert (scene.told[-1].cut_off, scene.told[-1].quiet_seconds) == ((), 0.0)


def test_silence_on_all_connections_is_counted_while_no_byte_moves() -> None:
    scene = Scene()
    scene.wait(4.5)
    assert scene.told[-1].quiet_seconds >= 3.0
    scene.bytes += 1
    scene.wait(0.5)
    assert scene.told[-1].quiet_seconds == 0.0


def test_whoever_waits_for_long_while_bytes_move_says_once_that_it_counts_them() -> None:
    scene = Scene()
    for _ in range(20):
        scene.bytes += 1
        scene.wait(0.5)
    assert [(links.watched, links.quiet_seconds) for links in scene.told] == [(True, 0.0)]
    scene.watch.ended()
    assert len(scene.told) == 1


def test_a_process_without_the_processor_counts_no_silence() -> None:
    scene = Scene()
    scene.wait(40.0, tick=8.0)
    assert max((links.quiet_seconds for links in scene.told), default=0.0) < 3.0


def test_who_shares_an_address_with_this_rank_is_never_cut_off() -> None:
    assert addresses(generation("127.0.0.1", "127.0.0.1"), 0) == {}
    scene = Scene(generation("127.0.0.1", "127.0.0.1"))
    scene.connections = [unanswered("127.0.0.1")]
    scene.wait(10.0)
    assert not [links for links in scene.told if links.cut_off]


def test_names_are_no_addresses() -> None:
    assert addresses(generation("10.0.0.1", "worker-1.digits", "10.0.0.3"), 0) == {"10.0.0.3": (2,)}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection over the loopback."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with one, other:
            yield one, other


def test_this_processs_own_connections_are_seen_and_their_bytes_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    found = {connection.inode: connection for connection in connections()}
    streams = [stream for stream in sockets.established() if stream.descriptor in (one.fileno(), other.fileno())]
    assert len(streams) == 2
    assert {found[stream.inode].peer for stream in streams} == {"127.0.0.1"}
    before = moved(streams)
    one.sendall(b"x" * 1000)
    assert other.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
    assert moved(streams) - before >= 1000
