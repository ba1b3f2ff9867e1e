"""The rendezvous on the network: TLS, WebSockets, tokens. Effect.

Every message goes to the one `Rendezvous` as it comes; a single task takes its turns and sends what changed. No decision is made
here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from trainingjob_api.contract.intent import INTENT, Intent, Report
from trainingjob_api.contract.messages import (
    AGENT_MESSAGE,
    MAX_MESSAGE_BYTES,
    AgentMessage,
    Beat,
    FailureCause,
    Hello,
    Orders,
    Progress,
    Refused,
    StoreRequest,
)
from trainingjob_api.contract.runtime import RendezvousEnvironment
from trainingjob_api.contract.strict import parsed, place, plain
from trainingjob_api.contract.tls import server_context
from trainingjob_rendezvous.connection import Connection, MalformedError, authorize
from trainingjob_rendezvous.pulse import TICK_SECONDS
from trainingjob_rendezvous.quorum.members import AgentId
from trainingjob_rendezvous.rendezvous import Rendezvous
from trainingjob_rendezvous.report import encode, urgent
from trainingjob_rendezvous.store import Store

HELLO_SECONDS = 10.0
"""How long a new connection may take to say who it is."""
REPORT_SECONDS = 0.5
"""Reports that are not urgent are at least this far apart."""
MOST_WAITING = 1024
"""Requests to the store that one agent may have under way."""
MOST_WAITING_BYTES = 16 * MAX_MESSAGE_BYTES
"""What these may hold together."""
MOST_COMPLAINTS = 256
"""Refusals that are remembered, so that each is logged once."""

logger = logging.getLogger("trainingjob.rendezvous")

T = TypeVar("T")


class Server:
    """The rendezvous of one job.

    Raises:
        ValueError: the environment's intent, certificate or private key is none.
    """

    def __init__(self, environment: RendezvousEnvironment) -> None:
        self._environment = environment
        self._context = server_context(environment.certificate, environment.private_key)
        self.rendezvous = Rendezvous(
            now=time.monotonic(),
            epoch=environment.epoch,
            first_intent=INTENT.validate_json(environment.intent),
            heartbeat_timeout=environment.heartbeat_timeout_seconds,
            join_window=environment.join_window_seconds,
        )
        self.store = Store()
        self.stopped = asyncio.Event()
        """Set when this rendezvous must end by itself: `rendezvous.stood_down` says why."""
        self._agents: dict[AgentId, Connection] = {}
        self._told: dict[AgentId, Orders] = {}
        self._operators: dict[Connection, Report | None] = {}
        self._reported_at = 0.0
        self._complaints: OrderedDict[str, None] = OrderedDict()
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._owner: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen. Returns the port."""
        application = web.Application()
        application.router.add_get("/healthz", _healthz)
        application.router.add_get("/v1/agent", self._serve_agent)
        application.router.add_get("/v1/operator", self._serve_operator)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._environment.bind, self._environment.port, ssl_context=self._context).start()
        self._owner = asyncio.create_task(self._own(), name="owner")
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Close every connection and stop listening."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        self.store.keep_only(None)
        for connection in [*self._agents.values(), *self._operators]:
            connection.close(1001, "the rendezvous ends")
        if self._runner is not None:
            await self._runner.cleanup()

    # --- the owner ---------------------------------------------------------------------

    async def _own(self) -> None:
        """Take turns for ever: at every change, when the rendezvous wants to be woken, and at every tick."""
        wake_at: float | None = None
        while not self.stopped.is_set():
            now = time.monotonic()
            wait = TICK_SECONDS if wake_at is None else min(TICK_SECONDS, max(0.0, wake_at - now))
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                wake_at = self._turn(time.monotonic())
            except Exception:
                logger.exception("a turn failed")
                await asyncio.sleep(TICK_SECONDS)

    def _turn(self, now: float) -> float | None:
        for agent in self.rendezvous.beat(now):
            self._drop(agent)
        turn = self.rendezvous.turn(now)
        live = self.rendezvous.live()
        self.store.keep_only(live.id.label() if live is not None else None)
        for agent, reason in turn.refused:
            self._refuse(agent, reason)
        self._tell_orders()
        for agent, commit in turn.commits:
            if (connection := self._agents.get(agent)) is not None:
                connection.send(commit.model_dump_json())
        self._tell_report(now)
        self._log()
        if self.rendezvous.stood_down is not None:
            self.stopped.set()
        return turn.wake_at

    def _tell_orders(self) -> None:
        texts: list[tuple[Orders, str]] = []
        for agent, connection in self._agents.items():
            orders = self.rendezvous.orders(agent)
            if self._told.get(agent) == orders:
                continue
            text = next((text for known, text in texts if known == orders), None)
            if text is None:
                text = orders.model_dump_json()
                texts.append((orders, text))
            self._told[agent] = orders
            connection.send(text)

    def _tell_report(self, now: float) -> None:
        if not self._operators:
            return
        report = self.rendezvous.report()
        early = now < self._reported_at + REPORT_SECONDS
        text = None
        for connection, told in self._operators.items():
            if told == report or (early and told is not None and urgent(told) == urgent(report)):
                continue
            text = text if text is not None else encode(report)
            connection.send(text)
            self._operators[connection] = report
            self._reported_at = now

    def _log(self) -> None:
        for event in self.rendezvous.events:
            logger.info("%s", plain(event))
        self.rendezvous.events.clear()

    def _complain(self, text: str) -> None:
        """Log what was refused; once, since who is refused may try for ever."""
        if text not in self._complaints:
            logger.warning("%s", text)
        self._complaints[text] = None
        self._complaints.move_to_end(text)
        while len(self._complaints) > MOST_COMPLAINTS:
            self._complaints.popitem(last=False)

    def _authorize(self, request: web.Request, token: str, role: str) -> None:
        try:
            authorize(request, token)
        except web.HTTPUnauthorized:
            self._complain(f"{request.remote} is refused as {role}: wrong token")
            raise

    def _refuse(self, agent: AgentId, reason: str) -> None:
        self._told.pop(agent, None)
        connection = self._agents.pop(agent, None)
        if connection is not None:
            connection.send(Refused(reason=reason).model_dump_json())
            connection.close(1008, "refused")

    def _drop(self, agent: AgentId) -> None:
        self._told.pop(agent, None)
        connection = self._agents.pop(agent, None)
        if connection is not None:
            connection.abort()

    # --- agents ------------------------------------------------------------------------

    async def _serve_agent(self, request: web.Request) -> web.WebSocketResponse:
        self._authorize(request, self._environment.worker_token, "worker")
        connection = await Connection.accept(request, MAX_MESSAGE_BYTES)
        agent: AgentId | None = None
        waiting: dict[asyncio.Task[None], int] = {}
        try:
            agent = await self._greet(connection)
            while agent is not None and self._agents.get(agent) is connection:
                text = await connection.receive()
                if text is None:
                    break
                self._take(connection, agent, _agent_message(text), waiting)
        except MalformedError as error:
            self._complain(f"{f'worker {agent.label()}' if agent is not None else request.remote} is cut: {error}")
            connection.close(1008, str(error))
        except TimeoutError:
            connection.close(1008, "no hello")
        finally:
            _cancel(waiting)
            if agent is not None and self._agents.get(agent) is connection:
                del self._agents[agent]
                self._told.pop(agent, None)
                self.rendezvous.lost(time.monotonic(), agent, FailureCause.LOST)
                self._changed.set()
        return await connection.end()

    async def _greet(self, connection: Connection) -> AgentId | None:
        """Hear who it is. A second connection of the same pod replaces the first."""
        text = await connection.receive(HELLO_SECONDS)
        hello = _agent_message(text) if text is not None else None
        if hello is None:
            return None
        if not isinstance(hello, Hello):
            raise MalformedError("the first message must be a hello")
        reason = self.rendezvous.hello(time.monotonic(), hello)
        self._changed.set()
        if reason is not None:
            connection.send(Refused(reason=reason).model_dump_json())
            connection.close(1008, "refused")
            return None
        agent = AgentId(hello.worker, hello.incarnation)
        old = self._agents.pop(agent, None)
        if old is not None:
            old.close(1008, "replaced by a newer connection")
        self._told.pop(agent, None)
        self._agents[agent] = connection
        return agent

    def _take(self, connection: Connection, agent: AgentId, message: AgentMessage, waiting: dict[asyncio.Task[None], int]) -> None:
        if isinstance(message, Hello):
            raise MalformedError("a second hello on one connection")
        if isinstance(message, StoreRequest):
            size = len(message.value) + sum(map(len, message.keys))
            if len(waiting) >= MOST_WAITING or sum(waiting.values()) + size > MOST_WAITING_BYTES:
                raise MalformedError("too many requests to the store at once")
            task = asyncio.create_task(self._answer(connection, message))
            waiting[task] = size
            task.add_done_callback(waiting.pop)
            return
        self.rendezvous.hear(time.monotonic(), agent, message)
        if not isinstance(message, Beat | Progress):  # these change no decision: the next tick is soon enough
            self._changed.set()

    async def _answer(self, connection: Connection, request: StoreRequest) -> None:
        reply = await self.store.answer(request)
        connection.send(reply.model_dump_json())

    # --- the operator ------------------------------------------------------------------

    async def _serve_operator(self, request: web.Request) -> web.WebSocketResponse:
        self._authorize(request, self._environment.operator_token, "operator")
        connection = await Connection.accept(request, MAX_MESSAGE_BYTES)
        for former in self._operators:
            former.close(1008, "another operator has come")  # one speaks at a time, and the newest knows best
        self._operators[connection] = None
        self._changed.set()
        try:
            while (text := await connection.receive()) is not None:
                reason = self.rendezvous.take_intent(time.monotonic(), _intent(text))
                self._changed.set()
                if reason is not None:
                    self._complain(f"an intent is refused: {reason}")
                    connection.close(1008, reason)
                    break
        except MalformedError as error:
            self._complain(f"the operator is cut: {error}")
            connection.close(1008, str(error))
        finally:
            self._operators.pop(connection, None)
        return await connection.end()


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _agent_message(text: str) -> AgentMessage:
    return _read(AGENT_MESSAGE, text, "message")


def _intent(text: str) -> Intent:
    return _read(INTENT, text, "intent")


def _read(adapter: TypeAdapter[T], text: str, what: str) -> T:
    try:
        return parsed(adapter.validate_json, text)
    except ValidationError as error:
        raise MalformedError(f"malformed {what}: {_first(error)}") from None
    except ValueError as error:
        raise MalformedError(f"malformed {what}: {error}") from None


def _first(error: ValidationError) -> str:
    """Where the first error is and what kind it is; never the input itself."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{place(first['loc'])} {first['type']}"


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in list(tasks):
        task.cancel()
