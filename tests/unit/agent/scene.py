"""What surrounds an agent in its tests: a rendezvous that says what it is told to, training processes on strings, a folder as storage."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp.web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trainingjob_agent.__main__ import build
from trainingjob_agent.agent import Agent
from trainingjob_agent.process.output import Console
from trainingjob_agent.settings import Settings
from trainingjob_api.contract.messages import (
    AGENT_MESSAGE,
    AgentMessage,
    Generation,
    GenerationId,
    MemberId,
    Orders,
    Refused,
    Restore,
    Seat,
    Source,
    Stage,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import Termination, WorkerEnvironment
from trainingjob_api.contract.tls import server_context

DEADLINE = 60.0
TOKEN = "the-workers-token"
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
"""What agents start in place of the training process."""
M = TypeVar("M")


def make_certificate() -> tuple[str, str]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rendezvous")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@dataclass
class Rendezvous:
    """Speaks the agents' protocol and decides nothing. It answers the process groups' store from a dictionary."""

    pem: tuple[str, str] = field(default_factory=make_certificate)
    heard: list[AgentMessage] = field(default_factory=list)
    connections: int = 0
    orders: Orders = field(default_factory=lambda: Orders(epoch=1))
    refuse: str | None = None
    port: int = 0
    store: dict[str, str] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _sockets: list[aiohttp.web.WebSocketResponse] = field(default_factory=list)
    _runner: aiohttp.web.AppRunner | None = None

    async def start(self) -> None:
        application = aiohttp.web.Application()
        application.router.add_get("/v1/agent", self._serve)
        self._runner = aiohttp.web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = aiohttp.web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=server_context(*self.pem), reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for socket in self._sockets:
            await socket.close()
        assert self._runner is not None
        await self._runner.cleanup()

    async def say(self, message: Any) -> None:
        if isinstance(message, Orders):
            self.orders = message
        for socket in self._sockets:
            await socket.send_str(message.model_dump_json(exclude_none=True))

    async def next(self, kind: type[M], holds: Callable[[M], bool] = lambda _: True, *, after: int = 0) -> M:
        """The first message of that kind, from the `after`-th message on."""
        async with asyncio.timeout(DEADLINE), self._news:
            while True:
                for message in self.heard[after:]:
                    if isinstance(message, kind) and holds(message):
                        return message
                await self._news.wait()

    async def _serve(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise aiohttp.web.HTTPUnauthorized
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        if self.refuse is not None:
            await socket.send_str(Refused(reason=self.refuse).model_dump_json())
            await socket.close()
            return socket
        self.connections += 1
        self._sockets.append(socket)
        try:
            async for frame in socket:
                await self._take(socket, AGENT_MESSAGE.validate_json(frame.data))
        finally:
            self._sockets.remove(socket)
        return socket

    async def _take(self, socket: aiohttp.web.WebSocketResponse, message: AgentMessage) -> None:
        if message.type == "hello":
            await socket.send_str(self.orders.model_dump_json(exclude_none=True))
        if isinstance(message, StoreRequest):
            await socket.send_str(self._stored(message).model_dump_json(exclude_none=True))
        async with self._news:
            self.heard.append(message)
            self._news.notify_all()

    def _stored(self, request: StoreRequest) -> StoreReply:
        names = [f"{request.prefix}/{key}" for key in request.keys]
        match request.operation:
            case "set":
                self.store[names[0]] = request.value
                return StoreReply(id=request.id, value="")
            case "check":
                return StoreReply(id=request.id, value="1" if all(name in self.store for name in names) else "0")
            case "get" if names[0] in self.store:
                return StoreReply(id=request.id, value=self.store[names[0]])
            case _:
                return StoreReply(id=request.id, error="timeout")


class Puppet:
    """One training process, held by the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: Mapping[str, Any]) -> None:
        self.pid: int = born["pid"]
        self.environ: dict[str, str] = born["environ"]
        self._reader, self._writer = reader, writer
        self._past: list[dict[str, Any]] = []

    def do(self, verb: str, value: Any) -> None:
        self._writer.write(json.dumps({verb: value}).encode() + b"\n")

    def say(self, type_: str, **fields: Any) -> None:
        """Something on the channel to the agent."""
        self.do("say", {"type": type_, **fields})

    async def tells(self, what: str) -> Any:
        return await self._wait(lambda told: what in told, what)

    async def hears(self, type_: str, **fields: Any) -> dict[str, Any]:
        """What the agent said of that type, the first that the test has not asked for before."""

        def fits(told: dict[str, Any]) -> bool:
            heard = told.get("heard", {})
            return heard.get("type") == type_ and all(heard.get(name) == value for name, value in fields.items())

        found: dict[str, Any] = await self._wait(fits, "heard")
        return found

    async def _wait(self, holds: Callable[[dict[str, Any]], bool], what: str) -> Any:
        async with asyncio.timeout(DEADLINE):
            while True:
                for told in self._past:
                    if holds(told):
                        self._past.remove(told)
                        return told[what]
                line = await self._reader.readline()
                if not line:
                    raise AssertionError(f"the process ended before: {what}")
                self._past.append(json.loads(line))

    async def ended(self) -> None:
        """Wait until the process is gone, seen from its end of the strings."""
        async with asyncio.timeout(DEADLINE):
            while await self._reader.read(1 << 16):
                pass


class Puppets:
    """All training processes of a test, in the order of their birth."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._born: asyncio.Queue[Puppet] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Puppets]:
        server = await asyncio.start_unix_server(self._greet, self.path, limit=1 << 24)
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def next(self) -> Puppet:
        async with asyncio.timeout(DEADLINE):
            return await self._born.get()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._born.put_nowait(Puppet(reader, writer, json.loads(await reader.readline())["born"]))


def make_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "workers": {"replicas": 1},
        "training": {"task": {"class": "somewhere:Task"}, "steps": 10},
        "checkpoint": {"storage": {"uri": f"file://{folder}"}},
        "recovery": {"heartbeatTimeoutSeconds": 1.0},
    }
    return spec | changes


@dataclass
class Scene:
    """An agent's surroundings."""

    folder: Path
    rendezvous: Rendezvous
    puppets: Puppets
    screen: io.BytesIO = field(default_factory=io.BytesIO)

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def termination(self) -> Path:
        return self.folder / "termination"

    def environ(self, worker: int = 0, grace: float | None = None, **spec: Any) -> dict[str, str]:
        told = WorkerEnvironment(
            job="default/digits",
            job_uid="uid-1",
            config=json.dumps(make_spec(self.storage, **spec)),
            build="build-1",
            worker=worker,
            incarnation=3,
            rendezvous=f"127.0.0.1:{self.rendezvous.port}",
            rendezvous_certificate=self.rendezvous.pem[0],
            token=TOKEN,
            address="127.0.0.1",
            grace_seconds=grace,
            termination_log=str(self.termination),
            scratch=str(self.folder / f"scratch-{worker}"),
        )
        own = {name: value for name, value in os.environ.items() if not name.startswith(("TRAININGJOB_", "COV_", "PYTEST_"))}
        return own | told.to_env() | {"FAKE_SOCKET": str(self.puppets.path), "PYTHONPATH": "/users/own", "USERS_OWN": "kept"}

    @contextlib.asynccontextmanager
    async def agent(
        self, *, worker: int = 0, grace: float | None = None, settings: Mapping[str, Any] | None = None, **spec: Any
    ) -> AsyncIterator[Running]:
        """An agent on this event loop; its training processes are real. It is killed at the end if it has not ended."""
        read = replace(Settings.read(self.environ(worker, grace, **spec)), **(settings or {}))
        console = Console(self.screen)
        agent = build(read, console)
        running = Running(agent, asyncio.create_task(agent.run()))
        try:
            yield running
        finally:
            if not running.task.done():
                agent.leave()
                agent.leave()
            await asyncio.wait({running.task}, timeout=DEADLINE)
            console.close()
            assert running.task.done()

    async def process(self, *, stdout: int = asyncio.subprocess.PIPE, **spec: Any) -> asyncio.subprocess.Process:
        """An agent as a process of its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import runpy, sys; from trainingjob_agent.process import slot; slot.TRAINER = tuple(sys.argv[1:]);"
            " runpy.run_module('trainingjob_agent', run_name='__main__')",
            *STAND_IN,
            env=self.environ(**spec),
            stdout=stdout,
            stderr=asyncio.subprocess.STDOUT,
        )

    def last_words(self) -> Termination:
        return Termination.model_validate_json(self.termination.read_text())


@dataclass
class Running:
    agent: Agent
    task: asyncio.Task[Termination]

    async def words(self) -> Termination:
        async with asyncio.timeout(DEADLINE):
            return await self.task


def make_generation(
    n: int = 1, *members: MemberId, source: str = "Storage", attempt: int = 1, restore: Restore | None = None
) -> Generation:
    seats = tuple(Seat(member=member, slot=rank, address="127.0.0.1") for rank, member in enumerate(members or (MemberId(0, 3, 0, 0),)))
    return Generation(
        id=GenerationId(attempt, 1, n), seats=seats, source=Source.model_validate({"kind": source}), restore=restore or Restore()
    )


def orders(generation: Generation | None = None, stage: Stage = Stage.RUNNING, **fields: Any) -> Orders:
    return Orders(epoch=fields.pop("epoch", 1), generation=generation, stage=stage if generation else Stage.OVER, **fields)


async def gone(pid: int) -> None:
    """Wait until a process is no more."""
    async with asyncio.timeout(DEADLINE):
        while Path(f"/proc/{pid}/stat").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.01)
