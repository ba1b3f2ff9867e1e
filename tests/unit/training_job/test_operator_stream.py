"""The stream to a rendezvous: intent is told again after a reconnect, reports are hostile input."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from operator_builders import make_report
from trainingjob_api.backoff import Backoff
from trainingjob_api.contract.intent import MAX_REPORT_BYTES, Intent, Report
from trainingjob_api.contract.tls import server_context
from trainingjob_operator.controllers.training_job.identity import derive
from trainingjob_operator.controllers.training_job.streams import stream as module
from trainingjob_operator.controllers.training_job.streams.stream import Stream, parse_report

IDENTITY = derive(b"key", "uid")
WAIT = 10.0


class Rendezvous:
    """A server of /v1/operator that says what a test wants."""

    def __init__(self) -> None:
        self.intents: asyncio.Queue[Intent] = asyncio.Queue()
        self.sockets: list[web.WebSocketResponse] = []
        self.refused = asyncio.Event()
        self.reads, self.over = True, asyncio.Event()
        self.address = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {IDENTITY.operator_token}":
            self.refused.set()
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        if not self.reads:
            await self.over.wait()
        async for message in socket:
            self.intents.put_nowait(Intent.model_validate_json(message.data))
        return socket


@pytest.fixture
async def rendezvous() -> AsyncIterator[Rendezvous]:
    server, application = Rendezvous(), web.Application()
    application.router.add_get("/v1/operator", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    context = server_context(IDENTITY.certificate_pem, IDENTITY.private_key_pem)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield server
    server.over.set()
    for socket in server.sockets:
        await socket.close()
    await runner.cleanup()


@pytest.fixture
async def reports() -> asyncio.Queue[Report]:
    return asyncio.Queue()


@pytest.fixture
async def stream(rendezvous: Rendezvous, reports: asyncio.Queue[Report]) -> AsyncIterator[Stream]:
    made = Stream(rendezvous.address, IDENTITY.certificate_pem, IDENTITY.operator_token, reports.put_nowait)
    yield made
    await made.close()


async def _told(rendezvous: Rendezvous) -> Intent:
    return await asyncio.wait_for(rendezvous.intents.get(), WAIT)


async def test_intent_goes_out_and_reports_come_in(rendezvous: Rendezvous, stream: Stream, reports: asyncio.Queue[Report]) -> None:
    stream.tell(Intent(epoch=1, attempt=1))
    assert await _told(rendezvous) == Intent(epoch=1, attempt=1)
    await rendezvous.sockets[0].send_str(make_report().model_dump_json())
    assert await asyncio.wait_for(reports.get(), WAIT) == make_report()
    assert stream.connected


async def test_the_newest_intent_is_told_again_after_a_reconnect(rendezvous: Rendezvous, stream: Stream) -> None:
    stream.tell(Intent(epoch=1, attempt=1))
    await _told(rendezvous)
    stream.tell(Intent(epoch=1, attempt=2))
    assert (await _told(rendezvous)).attempt == 2
    await rendezvous.sockets[0].close()
    assert (await _told(rendezvous)).attempt == 2
    assert len(rendezvous.sockets) == 2


NESTED = '{"epoch": 1, "x": ' + "[" * 30_000 + "]" * 30_000 + "}"


@pytest.mark.parametrize(
    "nonsense",
    ["{", '{"type": "report"}', "x" * (MAX_REPORT_BYTES + 1), NESTED],
    ids=["no JSON", "no epoch", "too long", "nested"],
)
async def test_a_bad_report_ends_the_connection_and_nothing_else(
    rendezvous: Rendezvous, stream: Stream, reports: asyncio.Queue[Report], nonsense: str
) -> None:
    stream.tell(Intent(epoch=1, attempt=1))
    await _told(rendezvous)
    await rendezvous.sockets[0].send_str(nonsense)
    await _told(rendezvous)
    assert len(rendezvous.sockets) == 2
    assert reports.empty()


async def test_a_wrong_token_gets_nowhere(rendezvous: Rendezvous, reports: asyncio.Queue[Report]) -> None:
    stream = Stream(rendezvous.address, IDENTITY.certificate_pem, "wrong", reports.put_nowait)
    await asyncio.wait_for(rendezvous.refused.wait(), WAIT)
    assert not stream.connected
    await stream.close()


STRICT = {
    "no object": "[]",
    "text for a number": '{"epoch": "1"}',
    "a fraction": '{"epoch": 1.5}',
    "beyond 64 bits": '{"epoch": 1, "step": 99999999999999999999}',
    "beyond 64 bits, then again": '{"epoch": 1, "step": 99999999999999999999, "step": 1}',
    "beyond 64 bits, unknown": '{"epoch": 1, "new": {"field": 99999999999999999999}}',
    "no number": '{"epoch": 1, "loss": NaN}',
    "no finite number": '{"epoch": 1, "metrics": {"a": -Infinity}}',
    "a number that grows infinite": '{"epoch": 1, "loss": 1e999}',
    "half a character": '{"epoch": 1, "reason": "\\ud800"}',
    "a bad member": '{"epoch": 1, "members": [{"worker": "x"}]}',
    "too many members": '{"epoch": 1, "members": [' + ",".join(['{"worker": 0, "incarnation": 0}'] * 513) + "]}",
    "nested": NESTED,
}


@pytest.mark.parametrize(
    "text",
    STRICT.values(),
    ids=STRICT.keys(),
)
def test_parsing_is_strict(text: str) -> None:
    with pytest.raises(ValueError, match="report"):
        parse_report(text)


def test_a_report_survives_the_wire() -> None:
    report = make_report(loss=None)
    assert parse_report(report.model_dump_json()) == report


def test_a_refusal_quotes_no_control_characters() -> None:
    with pytest.raises(ValueError, match="malformed report") as refused:
        parse_report('{"epoch": 1, "metrics": {"\\u001b[2J\\nevil": "x"}}')
    assert str(refused.value).isprintable()


async def _tries(caplog: pytest.LogCaptureFixture, times: int) -> list[str]:
    """Wait until the stream has tried so often; what it warned of meanwhile."""
    async with asyncio.timeout(WAIT):
        while sum(record.levelno == logging.DEBUG and record.name == module.__name__ for record in caplog.records) < times:
            await asyncio.sleep(0.01)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING and record.name == module.__name__]


@pytest.mark.parametrize("wrong", ["certificate", "token"])
async def test_a_refusal_is_logged_once_however_often_it_is_met(
    rendezvous: Rendezvous, reports: asyncio.Queue[Report], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The other certificate is another job's; the token is a worker's."""
    monkeypatch.setattr(module, "RETRY", Backoff(0.0, 0.0))
    certificate = derive(b"key", "other").certificate_pem if wrong == "certificate" else IDENTITY.certificate_pem
    token = IDENTITY.operator_token if wrong == "certificate" else IDENTITY.worker_token
    with caplog.at_level(logging.DEBUG, module.__name__):
        stream = Stream(rendezvous.address, certificate, token, reports.put_nowait)
        warned = await _tries(caplog, 4)
    await stream.close()
    assert len(warned) == 1
    assert ("certificate is not the one" if wrong == "certificate" else "refuses the operator (HTTP 401)") in warned[0]
    assert rendezvous.refused.is_set() is (wrong == "token")
    assert token not in caplog.text
    assert not stream.connected


async def test_nonsense_is_logged_once_however_often_it_is_said(
    rendezvous: Rendezvous, stream: Stream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", Backoff(0.0, 0.0))
    stream.tell(Intent(epoch=1, attempt=1))
    for number in range(4):
        await _told(rendezvous)
        await rendezvous.sockets[number].send_str("{")
    await _told(rendezvous)
    warned = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert warned == [f"stream to {rendezvous.address}: malformed report: no JSON"]


async def test_pings_and_pongs_are_a_sign_of_life_and_no_reports(
    rendezvous: Rendezvous, stream: Stream, reports: asyncio.Queue[Report]
) -> None:
    stream.tell(Intent(epoch=1, attempt=1))
    await _told(rendezvous)
    stream.heard = 0.0
    await rendezvous.sockets[0].pong(b"unasked")
    await rendezvous.sockets[0].ping(b"asked")
    await rendezvous.sockets[0].send_str(make_report().model_dump_json())
    await asyncio.wait_for(reports.get(), WAIT)
    assert stream.connected
    assert stream.heard > 0.0


async def test_the_end_of_a_silent_connection_is_no_sign_of_life(rendezvous: Rendezvous, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.1)
    rendezvous.reads = False
    changes: asyncio.Queue[tuple[bool, float]] = asyncio.Queue()
    stream = Stream(
        rendezvous.address,
        IDENTITY.certificate_pem,
        IDENTITY.operator_token,
        lambda report: None,
        on_change=lambda connected: changes.put_nowait((connected, stream.heard)),
    )
    assert (await asyncio.wait_for(changes.get(), WAIT))[0]
    stream.heard = 1.0
    lost, heard = await asyncio.wait_for(changes.get(), WAIT)
    await stream.close()
    assert (lost, heard) == (False, 1.0)
