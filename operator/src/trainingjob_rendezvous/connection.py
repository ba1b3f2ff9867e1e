"""One WebSocket of the rendezvous, with its own queue of what is to be sent. Effect: the network.

It knows no message but text; who is slow loses its connection, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac

from aiohttp import WSMsgType, web

MOST_QUEUED = 4096
"""Messages that may wait to be sent to one peer."""
MOST_QUEUED_BYTES = 128 << 20
"""What these may hold together: two commits of the largest jobs."""
CLOSE_SECONDS = 1.0
"""How long a peer may take to answer a close."""


class MalformedError(ValueError):
    """The peer sent what is no message of this contract; its connection is closed with the reason."""


def authorize(request: web.Request, token: str) -> None:
    """Check the bearer token before anything else is done.

    Raises:
        web.HTTPUnauthorized: it is missing or wrong.
    """
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, b"Bearer " + token.encode()):
        raise web.HTTPUnauthorized(text="wrong token\n")


class Connection:
    """One peer. `send` never waits; a task of its own does the sending."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self._socket = socket
        self._queue: asyncio.Queue[str | tuple[int, str]] = asyncio.Queue(MOST_QUEUED)
        self._queued_bytes = 0
        self._pump = asyncio.create_task(self._send_all())

    @classmethod
    async def accept(cls, request: web.Request, max_bytes: int) -> Connection:
        """Upgrade the request to a WebSocket that takes no message longer than `max_bytes`."""
        socket = web.WebSocketResponse(max_msg_size=max_bytes, compress=False, timeout=CLOSE_SECONDS)
        await socket.prepare(request)
        return cls(request, socket)

    def send(self, text: str) -> None:
        """Queue a message; a peer that does not read loses its connection."""
        self._put(text)

    def close(self, code: int, reason: str) -> None:
        """Close, in order, after what is queued."""
        self._put((code, reason))

    def abort(self) -> None:
        """Cut the connection at once: its peer may be out of reach."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def receive(self, within: float | None = None) -> str | None:
        """The next message, or None when the connection is closed.

        Raises:
            TimeoutError: nothing came within `within` seconds.
            MalformedError: the peer sent something that is not text.
        """
        message = await self._socket.receive(within)
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            raise MalformedError("a message must be text")
        return None

    async def end(self) -> web.WebSocketResponse:
        """The handler is done: send what is queued, close, and return what aiohttp wants of a handler."""
        self._put((1000, ""))
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await asyncio.shield(self._pump)
        self._pump.cancel()
        return self._socket

    def _put(self, item: str | tuple[int, str]) -> None:
        size = _size(item)
        if self._queue.full() or self._queued_bytes + size > MOST_QUEUED_BYTES:
            self.abort()
            return
        self._queued_bytes += size
        self._queue.put_nowait(item)

    async def _send_all(self) -> None:
        while True:
            item = await self._queue.get()
            self._queued_bytes -= _size(item)
            try:
                if isinstance(item, tuple):
                    await self._socket.close(code=item[0], message=item[1].encode()[:120])
                    return
                await self._socket.send_str(item)
            except (ConnectionError, RuntimeError):
                return


def _size(item: str | tuple[int, str]) -> int:
    return len(item) if isinstance(item, str) else 0
