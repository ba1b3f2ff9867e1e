"""A rendezvous on 127.0.0.1, and agents that speak to it over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from certificates import make_certificate
from trainingjob_api.contract.intent import REPORT, Intent, Report, WorkerSeat
from trainingjob_api.contract.messages import (
    RENDEZVOUS_MESSAGE,
    Commit,
    Generation,
    Hello,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Record,
    Refused,
    Saved,
    SaveId,
    Shard,
    Stage,
    State,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import CONTRACT_VERSION, RendezvousEnvironment
from trainingjob_api.contract.tls import client_context
from trainingjob_rendezvous.server import Server

DEADLINE = 10.0
CERTIFICATE, PRIVATE_KEY = make_certificate()


class Peer:
    """One WebSocket to the rendezvous, that remembers what it heard."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[Any] = []
        self._changed = asyncio.Condition()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            async with self._changed:
                self.heard.append(self.parse(message.data))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    def parse(self, text: str) -> Any:
        return RENDEZVOUS_MESSAGE.validate_json(text)

    async def say(self, message: Record) -> None:
        await self.socket.send_str(message.model_dump_json())

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The newest message that is wanted, as soon as there is one."""

        def found() -> Any:
            return next((message for message in reversed(self.heard) if wanted(message)), None)

        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: found() is not None or self.reading.done())
        message = found()
        assert message is not None, f"closed: {self.socket.close_code}"
        return message

    async def closed(self) -> int | None:
        async with asyncio.timeout(DEADLINE):
            await self.reading
        return self.socket.close_code

    def cut(self) -> None:
        """As when the process is killed: no close frame."""
        transport = self.socket._writer.transport
        assert transport is not None
        transport.abort()


class OperatorPeer(Peer):
    def parse(self, text: str) -> Report:
        return REPORT.validate_json(text)


class AgentPeer(Peer):
    """An agent with one training process that does as it is told, when the test says so."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, worker: int, incarnation: int = 0) -> None:
        super().__init__(socket)
        self.member = MemberId(worker, incarnation, 0, 0)
        self.requests = 0

    async def greet(self, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "contract": CONTRACT_VERSION,
            "build": "b",
            "worker": self.member.worker,
            "incarnation": self.member.incarnation,
            "address": f"10.0.0.{self.member.worker}",
        }
        await self.say(Hello(**{**fields, **changes}))

    async def report(self, phase: Phase, generation: Generation | None = None, state: State | None = None) -> None:
        await self.say(self.standing(phase, generation, state))

    def standing(self, phase: Phase, generation: Generation | None = None, state: State | None = None) -> MemberReport:
        named = generation.id if generation is not None else None
        return MemberReport(member=self.member, phase=phase, generation=named, state=state)

    async def orders(self, stage: Stage, world: int | None = None, after: Generation | None = None) -> Orders:
        """The newest orders of this stage, for a generation of `world` that is newer than `after`."""

        def wanted(message: Any) -> bool:
            if not isinstance(message, Orders) or message.stage is not stage or message.generation is None:
                return False
            fits = world is None or len(message.generation.seats) == world
            return fits and (after is None or message.generation.id > after.id)

        found: Orders = await self.until(wanted)
        return found

    async def ask(self, generation: Generation, operation: str, *keys: str, value: str = "", timeout: float = 5.0) -> StoreReply:
        self.requests += 1
        number = self.requests
        await self.say(
            StoreRequest(id=number, operation=operation, prefix=generation.id.label(), keys=keys, value=value, timeout_seconds=timeout)  # type: ignore[arg-type]
        )
        reply: StoreReply = await self.until(lambda message: isinstance(message, StoreReply) and message.id == number)
        return reply

    async def saved(self, generation: Generation, step: int) -> None:
        rank = generation.rank_of(self.member)
        assert rank is not None
        shard = Shard(rank=rank, name=f"{rank:05d}.safetensors", bytes=8, blake3="0" * 64)
        await self.say(Saved(member=self.member, save=SaveId(generation=generation.id, step=step), shard=shard, position='{"step": 1}'))

    async def commit(self) -> Commit:
        found: Commit = await self.until(lambda message: isinstance(message, Commit))
        return found

    async def refusal(self) -> Refused:
        found: Refused = await self.until(lambda message: isinstance(message, Refused))
        return found


def make_intent(workers: int = 3, **changes: Any) -> Intent:
    seats = tuple(WorkerSeat(worker=worker, incarnation=0) for worker in range(workers))
    fields: dict[str, Any] = {"epoch": 1, "attempt": 1, "workers": seats, "replicas": workers, "min_workers": 1, "build": "b"}
    return Intent(**{**fields, **changes})


def make_environment(intent: Intent, **changes: Any) -> RendezvousEnvironment:
    fields: dict[str, Any] = {
        "job": "default/digits",
        "job_uid": "uid",
        "epoch": intent.epoch,
        "intent": intent.model_dump_json(),
        "bind": "127.0.0.1",
        "port": 0,
        "certificate": CERTIFICATE,
        "private_key": PRIVATE_KEY,
        "worker_token": "worker-token",
        "operator_token": "operator-token",
        "heartbeat_timeout_seconds": 0.4,
        "join_window_seconds": 30.0,
    }
    return RendezvousEnvironment(**{**fields, **changes})


class Site:
    """A rendezvous, and everybody who is connected to it."""

    def __init__(self, environment: RendezvousEnvironment) -> None:
        self.environment = environment
        self.server = Server(environment)
        self.port = 0
        self.session = aiohttp.ClientSession()

    async def start(self) -> None:
        self.port = await self.server.start()

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    async def connect(self, path: str, token: str, certificate: str = CERTIFICATE) -> aiohttp.ClientWebSocketResponse:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.session.ws_connect(self.url(path), headers=headers, ssl=client_context(certificate))

    async def agent(self, worker: int, incarnation: int = 0) -> AgentPeer:
        return AgentPeer(await self.connect("/v1/agent", "worker-token"), worker, incarnation)

    async def operator(self) -> OperatorPeer:
        return OperatorPeer(await self.connect("/v1/operator", "operator-token"))

    async def close(self) -> None:
        await self.session.close()
        await self.server.close()


@pytest.fixture
async def make_site() -> AsyncIterator[Callable[..., Awaitable[Site]]]:
    """Start a rendezvous for an intent; it is closed after the test."""
    sites: list[Site] = []

    async def make(intent: Intent, **changes: Any) -> Site:
        site = Site(make_environment(intent, **changes))
        sites.append(site)
        await site.start()
        return site

    yield make
    for site in sites:
        await site.close()


@pytest.fixture
def with_intent() -> Callable[..., Intent]:
    """An intent for so many workers of incarnation 0."""
    return make_intent
