"""A proxy in front of the API server that a test lets fail on purpose, and that remembers every request.

It listens on plain HTTP, passes every header on, and streams a watch line by line. A connection that the API server breaks
is broken on this side too. A client that leaves takes its watch with it; any other request that was sent is carried out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from integration.api_server import ApiServer
from integration.credentials import ADMIN
from integration.faults import EXPIRED, Answered, Asked, Dropped, Fault

LINE_BYTES = 8 << 20
HOP_BY_HOP = frozenset(("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))


class Proxy:
    """`async with Proxy(api_server) as proxy:`, then point clients to `proxy.kubeconfig(user)`."""

    def __init__(self, api_server: ApiServer) -> None:
        self.requests: list[Asked] = []
        """All that came, in their order."""
        self.url = ""
        self._api_server = api_server
        self._faults: list[Fault] = []
        self._streams: list[Stream] = []
        self._closing = False
        self._carrying: set[asyncio.Future[Any]] = set()

    # --- what a test does with it ---

    def add(self, fault: Fault) -> Fault:
        """Let this befall the requests that come from now on."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """No more faults."""
        self._faults.clear()

    def count(self, method: str = ".*", path: str = "") -> int:
        """How many requests came whose whole method, and whose path somewhere, fit these expressions."""
        return sum(1 for asked in self.requests if re.fullmatch(method, asked.method) and re.search(path, asked.path))

    def watching(self) -> int:
        """How many watches are open now."""
        return len(self._streams)

    def cut_watches(self) -> int:
        """Break the connection of every open watch; returns how many there were."""
        for stream in self._streams:
            _break(stream.request)
        return len(self._streams)

    def expire_watches(self) -> int:
        """Tell every open watch 410 in its stream, and end it; returns how many there were."""
        for stream in self._streams:
            stream.ends_with.set_result(Answered(200, EXPIRED).line())
        return len(self._streams)

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A kubeconfig of this user that leads through here."""
        return self._api_server.kubeconfig(user, self.url)

    # --- its life ---

    async def __aenter__(self) -> Proxy:
        connector = aiohttp.TCPConnector(ssl=self._api_server.context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        application = web.Application(client_max_size=LINE_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True  # a client that still lives asks on: nothing more is begun for it
        await self._runner.cleanup()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        await self._session.close()

    # --- one request ---

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watches = request.query.get("watch", "").lower() in ("true", "1")
        asked = Asked(request.method, request.path_qs, watches)
        self.requests.append(asked)
        faults = [fault for fault in self._faults if fault.takes(asked)]
        body = await request.read()
        try:
            if self._closing:
                raise Dropped
            answer = await _befall([fault for fault in faults if not fault.afterwards], asked)
            if answer is not None:
                return _told(asked, answer)
            return await self._forward(request, body, asked, [fault for fault in faults if fault.afterwards])
        except (Dropped, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            _break(request)
            return web.Response()  # nobody gets it

    async def _forward(self, request: web.Request, body: bytes, asked: Asked, faults: list[Fault]) -> web.StreamResponse:
        asked.forwarded = True
        if asked.watches:
            upstream = await self._opened(request, body)
            try:
                return await self._stream(request, upstream, asked)
            finally:
                _cut(upstream)
        carrying = asyncio.create_task(self._carry(request, body))
        self._carrying.add(carrying)
        carrying.add_done_callback(self._carrying.discard)
        passed = await asyncio.shield(carrying)
        answer = await _befall(faults, asked)
        if answer is not None:
            return _told(asked, answer)
        asked.status = passed.status
        return passed

    async def _opened(self, request: web.Request, body: bytes) -> aiohttp.ClientResponse:
        """The API server's answer to a watch. A client that leaves breaks no connection in the making: it is cut once it stands."""
        opening = asyncio.ensure_future(self._sent(request, body).__aenter__())
        self._carrying.add(opening)
        opening.add_done_callback(self._carrying.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda opened: None if opened.exception() else _cut(opened.result()))
            raise

    async def _carry(self, request: web.Request, body: bytes) -> web.Response:
        """What was sent is carried out whole, though the client may have left."""
        async with self._sent(request, body) as upstream:
            return web.Response(status=upstream.status, body=await upstream.read(), headers=_kept(upstream))

    def _sent(self, request: web.Request, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        url = URL(self._api_server.url + request.raw_path, encoded=True)
        return self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False, read_bufsize=LINE_BYTES
        )

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, headers=_kept(upstream))
        asked.status = upstream.status
        await response.prepare(request)
        stream = Stream(request, asyncio.get_running_loop().create_future())
        self._streams.append(stream)
        try:
            async for line in stream.lines(upstream.content):
                await response.write(line)
            await response.write_eof()
        finally:
            self._streams.remove(stream)
        return response


@dataclass(eq=False)
class Stream:
    """An open watch."""

    request: web.Request
    ends_with: asyncio.Future[bytes]
    """Its last line, where a test ends it."""

    async def lines(self, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """The API server's lines, until there are no more or a test ends it."""
        while True:
            reading = asyncio.ensure_future(content.readline())
            try:
                await asyncio.wait((reading, self.ends_with), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not reading.done():
                    reading.cancel()
            if self.ends_with.done():
                yield self.ends_with.result()
                return
            if not (line := reading.result()):
                return
            yield line


async def _befall(faults: list[Fault], asked: Asked) -> Answered | None:
    answers = [await fault.befall(asked) for fault in faults]
    return next((answer for answer in answers if answer is not None), None)


def _told(asked: Asked, answer: Answered) -> web.Response:
    asked.status = answer.status
    return web.Response(status=answer.status, body=answer.line(), headers={"Content-Type": "application/json", **answer.headers})


def _kept(upstream: aiohttp.ClientResponse) -> Any:
    return [(name, value) for name, value in upstream.headers.items() if name.lower() not in HOP_BY_HOP]


def _cut(upstream: aiohttp.ClientResponse) -> None:
    """End it at once: a TLS connection that is closed politely may outlive the loop."""
    if upstream.connection is not None and upstream.connection.transport is not None:
        upstream.connection.transport.abort()
    upstream.close()


def _break(request: web.Request) -> None:
    """As when the machine at the other end is gone."""
    if request.transport is not None:
        request.transport.abort()
