"""The operator's end of the stream to one job's rendezvous: intent out, reports in. Effect.

Both are states: after a reconnect the newest intent is told again and the newest report comes again, so nothing is queued.
Reports are hostile input: capped in size, strictly parsed, refused whole. It must not decide anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from functools import partial

import aiohttp
from pydantic import ValidationError

from trainingjob_api.backoff import Backoff
from trainingjob_api.contract.intent import MAX_REPORT_BYTES, REPORT, Intent, Report
from trainingjob_api.contract.strict import parsed, place
from trainingjob_api.contract.tls import client_context

logger = logging.getLogger(__name__)

RETRY = Backoff(first=0.1, longest=10.0, high=1.0)
HEARTBEAT_SECONDS = 6.0
"""After so long without a message a ping is sent; without a pong for half of this the stream is taken for broken."""
CONNECT_SECONDS = 5.0


def parse_report(text: str | bytes) -> Report:
    """The report in `text`.

    Raises:
        ValueError: it is longer than MAX_REPORT_BYTES, or not a report to the letter.
    """
    if len(text) > MAX_REPORT_BYTES:
        raise ValueError(f"a report of {len(text)} bytes is over the limit of {MAX_REPORT_BYTES}")
    try:
        return parsed(partial(REPORT.validate_json, strict=True), text)
    except ValidationError as error:
        # Not the whole error: it quotes the input, which belongs in no log.
        places = [place(item["loc"]) for item in error.errors(include_input=False)[:3]]
        raise ValueError(f"malformed report: {', '.join(filter(None, places)) or 'no JSON'}") from None
    except ValueError as error:
        raise ValueError(f"malformed report: {error}") from None


class Stream:
    """Keeps a connection to the rendezvous at `address` (host:port) until closed, trying again for ever with backoff."""

    def __init__(
        self,
        address: str,
        certificate: str,
        token: str,
        on_report: Callable[[Report], None],
        *,
        on_change: Callable[[bool], None] | None = None,
        may_tell: Callable[[], bool] = lambda: True,
    ) -> None:
        """`on_report` gets every report; `on_change` True when the stream stands and False when it is lost.

        No stream is opened, and nothing is told, while `may_tell` says no.
        """
        self.address = address
        self.connected = False
        self.heard = time.monotonic()
        """When anything came from the other side, a pong included; at first, when this side began to listen."""
        self._certificate = certificate
        self._token = token
        self._on_report = on_report
        self._on_change = on_change
        self._may_tell = may_tell
        self._intent: Intent | None = None
        self._told = asyncio.Event()
        self._complaint = ""
        """What was last said of the other side, which is not said again."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def tell(self, intent: Intent) -> None:
        """Have the rendezvous told `intent` now and after every reconnect; only the newest one counts."""
        if intent != self._intent:
            self._intent = intent
            self._told.set()

    async def close(self) -> None:
        """End the connection and wait for its end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        context = client_context(self._certificate)
        failures = 0
        while True:
            try:
                stood = await self._connection(context) if self._may_tell() else False
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                stood = self.connected
                self._complain(_refusal(error))
                logger.debug("stream to %s: %s", self.address, error)
            except ValueError as error:
                stood = False  # whoever talks nonsense is asked less and less often
                self._complain(str(error))
            self._change(False)
            failures = 0 if stood else failures + 1
            await asyncio.sleep(RETRY.seconds(failures + 1, random.random()))

    def _complain(self, text: str) -> None:
        if text and text != self._complaint:
            logger.warning("stream to %s: %s", self.address, text)
            self._complaint = text

    async def _connection(self, context: ssl.SSLContext) -> bool:
        """One connection, until the other side ends it; True if it ever stood."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            asyncio.timeout(CONNECT_SECONDS) as opening,
            session.ws_connect(
                f"wss://{self.address}/v1/operator",
                headers={"Authorization": f"Bearer {self._token}"},
                ssl=context,
                max_msg_size=MAX_REPORT_BYTES,
                heartbeat=HEARTBEAT_SECONDS,
                autoping=False,  # a pong is to be seen
            ) as socket,
        ):
            opening.reschedule(None)
            self._change(True)
            sender = asyncio.create_task(self._send(socket))
            try:
                await self._receive(socket)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        return True

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._told.set()
        while True:
            await self._told.wait()
            while not self._may_tell():  # noqa: ASYNC110 - it depends on time alone
                await asyncio.sleep(RETRY.first)
            self._told.clear()
            if self._intent is not None:
                await socket.send_str(self._intent.model_dump_json())

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.ERROR:  # the error that ends a silence is no sign of life
                self.heard = time.monotonic()
            if message.type is aiohttp.WSMsgType.PONG:
                continue
            if message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ValueError(f"a message of type {message.type.name} instead of text")
            self._on_report(parse_report(message.data))

    def _change(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected = connected
            if self._on_change is not None:
                self._on_change(connected)


def _refusal(error: Exception) -> str:
    """What is wrong with the other side, or with what it is shown; "" where it is only not there."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not the one of this job's rendezvous"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it refuses the operator (HTTP {error.status})"
    return ""
