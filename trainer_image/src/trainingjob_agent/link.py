"""The connection to the rendezvous: one WebSocket over TLS, made again whenever it breaks. Effects: network.

It carries messages and knows no meaning but that of Refused. What must be said again after a break is asked of `greet` on every connection,
so nothing is queued here while there is none: a state told late is worth nothing, the newest is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from trainingjob_api.backoff import Backoff
from trainingjob_api.contract.messages import (
    MAX_MESSAGE_BYTES,
    RENDEZVOUS_MESSAGE,
    AgentMessage,
    Beat,
    Commit,
    Orders,
    Refused,
    StoreReply,
    StoreRequest,
)

logger = logging.getLogger(__name__)

MAX_INCOMING_BYTES = 64 * MAX_MESSAGE_BYTES
"""A Commit repeats the shards of all ranks: the rendezvous, which is trusted, may say more than an agent."""
_RETRY = Backoff(first=0.1, longest=2.0)
_PING_SECONDS = 10.0
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_TOKEN_REFUSED = (401, 403)


class RendezvousLostError(Exception):
    """No rendezvous answered within the start-up limit."""


class RefusedError(Exception):
    """The rendezvous does not want this agent; the message is its reason."""


class TooLongError(ValueError):
    """The message is longer than the rendezvous reads."""


@dataclass(frozen=True)
class Peer:
    """Where the rendezvous is and how both sides know each other."""

    address: str
    """host:port"""
    tls: ssl.SSLContext
    token: str


class Link:
    """The agent's only line to the rendezvous."""

    def __init__(
        self,
        peer: Peer,
        *,
        beat_seconds: float,
        beat: Callable[[], Beat],
        startup_seconds: float,
        greet: Callable[[], Sequence[AgentMessage]],
        receive: Callable[[Orders | StoreReply | Commit], None],
        lost: Callable[[], None],
    ) -> None:
        """Callbacks run on the event loop.

        Args:
            peer: the rendezvous.
            beat_seconds: the longest silence while connected.
            beat: what to say then.
            startup_seconds: how long the first contact may take.
            greet: what to say first on each connection.
            receive: takes what the rendezvous says.
            lost: told when a connection has broken.
        """
        self._peer = peer
        self._beat_seconds = beat_seconds
        self._beat = beat
        self._startup_seconds = startup_seconds
        self._greet = greet
        self._receive = receive
        self._lost = lost
        self._outgoing: asyncio.Queue[str] | None = None
        self.contacted = False

    @property
    def connected(self) -> bool:
        """What is sent now reaches the wire."""
        return self._outgoing is not None

    def send(self, message: AgentMessage) -> bool:
        """Say something if there is a connection; whether there is.

        Raises:
            TooLongError: the rendezvous would close the connection over it.
        """
        text = _encode(message)
        if self._outgoing is None:
            return False
        self._outgoing.put_nowait(text)
        return True

    async def flush(self, seconds: float) -> None:
        """Wait until all that was said is on the wire, or for `seconds`."""
        if self._outgoing is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._outgoing.join()
            except TimeoutError:
                return

    async def run(self) -> None:
        """Keep the connection; never returns.

        Raises:
            RendezvousLostError: there was no first contact in time.
            RefusedError: the rendezvous refuses this agent.
        """
        began = time.monotonic()
        tries = 0
        async with aiohttp.ClientSession() as session:
            while True:
                tries += 1
                try:
                    if not await self._connect(session):
                        raise ConnectionResetError("it closed the connection without a word")
                    tries = 1
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._judge(error, time.monotonic() - began, quiet=tries > 1)
                await asyncio.sleep(_RETRY.seconds(tries, random.random()))

    def _judge(self, error: Exception, waited: float, *, quiet: bool) -> None:
        if self.contacted:
            log = logger.debug if quiet else logger.warning
            log("the rendezvous at %s does not answer (%s); training goes on without it", self._peer.address, error)
            return
        if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in _TOKEN_REFUSED:
            raise RefusedError(f"the rendezvous refused the worker's token (HTTP {error.status})") from error
        if waited > self._startup_seconds:
            raise RendezvousLostError(
                f"no rendezvous answered at {self._peer.address} for recovery.startupTimeoutSeconds ({self._startup_seconds:g} s): {error}"
            ) from error
        if not quiet:
            logger.info("waiting for the rendezvous at %s (%s)", self._peer.address, error)

    async def _connect(self, session: aiohttp.ClientSession) -> bool:
        """One connection, to its end; whether the rendezvous said anything."""
        timeout = min(_OPEN_SECONDS, self._startup_seconds)
        async with asyncio.timeout(timeout):
            socket = await session.ws_connect(
                f"wss://{self._peer.address}/v1/agent",
                ssl=self._peer.tls,
                headers={"Authorization": f"Bearer {self._peer.token}"},
                max_msg_size=MAX_INCOMING_BYTES,
                heartbeat=_PING_SECONDS,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
        outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._outgoing = outgoing
        for message in self._greet():
            outgoing.put_nowait(_encode(message))
        writer = asyncio.create_task(self._write(socket, outgoing))
        try:
            return await self._read(socket)
        finally:
            self._outgoing = None
            writer.cancel()
            await asyncio.wait({writer})
            await socket.close()
            self._lost()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        heard = False
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                message = RENDEZVOUS_MESSAGE.validate_json(frame.data)
            except ValidationError as error:
                logger.warning("the rendezvous said something that is not in the contract: %s", error.errors()[0]["msg"])
                continue
            self.contacted = heard = True
            if isinstance(message, Refused):
                raise RefusedError(message.reason)
            self._receive(message)
        return heard

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, outgoing: asyncio.Queue[str]) -> None:
        while True:
            try:
                async with asyncio.timeout(self._beat_seconds):
                    text = await outgoing.get()
            except TimeoutError:
                outgoing.put_nowait(_encode(self._beat()))
                continue
            try:
                await socket.send_str(text)
            except (aiohttp.ClientError, OSError):  # the reader sees the end, too
                return
            outgoing.task_done()


def _encode(message: AgentMessage) -> str:
    text = message.model_dump_json(exclude_none=True)
    if len(text.encode()) > MAX_MESSAGE_BYTES:
        raise TooLongError(f"a message {message.type!r} of {len(text)} bytes; the rendezvous reads {MAX_MESSAGE_BYTES}")
    return text


class StoreRelay:
    """Calls of the process groups' store on their way through this agent: each asker numbers its own from anywhere."""

    def __init__(self, send: Callable[[StoreRequest], bool]) -> None:
        """`send` says whether the request went out."""
        self._send = send
        self._next = 0
        self._pending: dict[int, tuple[int, Callable[[StoreReply], None]]] = {}

    def ask(self, request: StoreRequest, answer: Callable[[StoreReply], None]) -> None:
        """Pass a request on; `answer` gets the reply under the request's own id."""
        self._next += 1
        number = self._next
        self._pending[number] = (request.id, answer)
        if not self._send(request.model_copy(update={"id": number})):
            self.reply(StoreReply(id=number, error="over"))

    def reply(self, reply: StoreReply) -> None:
        """Pass a reply back; one that nobody waits for is dropped."""
        asked = self._pending.pop(reply.id, None)
        if asked is not None:
            own, answer = asked
            answer(reply.model_copy(update={"id": own}))

    def lost(self) -> None:
        """The connection broke: nobody will answer what was asked on it."""
        for number in list(self._pending):
            self.reply(StoreReply(id=number, error="over"))
