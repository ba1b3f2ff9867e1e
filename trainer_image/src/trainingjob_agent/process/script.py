"""A slot whose lives are runs of the user's own script: the agent itself is the member. Effects: processes.

A script knows nothing of generations, so every change of membership restarts it whole, on all ranks, with a new MASTER_PORT. Rank 0's
agent opens the attempt before anybody's script starts, as rank 0's training process would have it done for a Task. The
script's own TCPStore is its own affair: it is not authenticated.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import random
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from trainingjob_agent.arena import SharedFiles
from trainingjob_agent.process.conversation import Agency
from trainingjob_agent.process.failure import FINAL, UserMistakeError, classify, restart_delay
from trainingjob_agent.process.life import End, Life, child_environment
from trainingjob_agent.process.output import LifeLog
from trainingjob_agent.stamp import Stamp
from trainingjob_agent.uploads import RETRY
from trainingjob_api.contract.messages import (
    SCRIPT,
    Failure,
    Generation,
    GenerationId,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Stage,
    State,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.contract.variables import expand

logger = logging.getLogger(__name__)
_PORT_KEY = "script/port"
_FINISHED_KEY = "script/finished"
_RETRY_SECONDS = 0.5
_WAIT_SECONDS = 30.0
_DRAIN_SECONDS = 3.0


def script_environment(generation: Generation, rank: int, port: int, job_uid: str, max_restarts: int, gpus: int = 0) -> dict[str, str]:
    """What a script is told: torchrun's names, so that one written for torchrun runs unchanged. Pure.

    A torchrun that is itself the command, or is called by it, reads PET_*: to it every process of the job is a node.

    Args:
        generation: the running one.
        rank: the script's own.
        port: where rank 0's script is to listen.
        job_uid: the run's id.
        max_restarts: the job's limit of failures.
        gpus: of this process; a torchrun starts as many of its own.
    """
    seat = generation.seats[rank]
    local = [other for other, at in enumerate(generation.seats) if at.member.worker == seat.member.worker]
    groups = list(dict.fromkeys(at.member.worker for at in generation.seats))
    numbers = {
        "MASTER_PORT": port,
        "RANK": rank,
        "WORLD_SIZE": len(generation.seats),
        "LOCAL_RANK": local.index(rank),
        "LOCAL_WORLD_SIZE": len(local),
        "GROUP_RANK": groups.index(seat.member.worker),
        "GROUP_WORLD_SIZE": len(groups),
        "ROLE_RANK": rank,
        "ROLE_WORLD_SIZE": len(generation.seats),
        "TORCHELASTIC_RESTART_COUNT": max(0, generation.id.n - 1),
        "TORCHELASTIC_MAX_RESTARTS": max_restarts,
        "PET_NNODES": len(generation.seats),
        "PET_NODE_RANK": rank,
        "PET_NPROC_PER_NODE": max(1, gpus),
        "PET_MASTER_PORT": port,
    }
    first = generation.seats[0].address
    names = {"MASTER_ADDR": first, "PET_MASTER_ADDR": first, "TORCHELASTIC_RUN_ID": job_uid, "ROLE_NAME": "default"}
    return names | {name: str(number) for name, number in numbers.items()}


class ScriptSlot:
    """A slot that runs `command` in every generation it has a seat in."""

    def __init__(self, agency: Agency, process: int, command: Sequence[str]) -> None:
        told = agency.settings.told
        self._agency = agency
        self._command = tuple(command)
        self._state: State | None = None
        self._life: Life | None = None
        self._joined: GenerationId | None = None
        self._delay: float | None = None
        """Seconds from the last failure to the next life."""
        self._news = asyncio.Event()
        self._ending = False
        self._leaving = False
        self.report = MemberReport(member=MemberId(told.worker, told.incarnation, process, 0), phase=Phase.IDLE)

    @property
    def _member(self) -> MemberId:
        return self.report.member

    def told(self, orders: Orders) -> None:
        """There are other orders."""
        self._news.set()

    def stamp(self) -> Stamp | None:
        """A script stamps nothing."""
        return None

    def member_stamp(self) -> None:
        """The same."""
        return

    async def run(self) -> None:
        """Run the script in one generation after another, until `end`, or until it ends with a user error."""
        self._stand(Phase.IDLE)
        while True:
            await self._until(lambda: self._proposed() is not None)
            generation = self._proposed()
            if self._over() or generation is None:
                return
            failure = await self._join(generation)
            if failure is not None and failure.cause in FINAL:
                return
            if failure is not None:
                await self._rest()
            if not self._over():
                self._stand(Phase.IDLE)

    def leave(self) -> None:
        """The worker is to leave: the script is told to end now, whether or not anybody orders it, and is started no more."""
        self._leaving = True
        self._news.set()

    async def end(self, grace_seconds: float) -> None:
        """End the script and start it no more."""
        self._ending = True
        self._news.set()
        if self._life is not None:
            await self._life.end(grace_seconds)

    def kill(self) -> None:
        """End the script at once and start it no more."""
        self._ending = True
        self._news.set()
        if self._life is not None:
            self._life.signal(signal.SIGKILL)

    def close(self) -> None:
        """Nothing is held."""

    # --- orders

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for orders under which `holds`, or for the end."""
        while not self._over() and not holds():
            self._news.clear()
            await self._news.wait()

    async def _rest(self) -> None:
        """Wait before the next life. No order but the end cuts it short: a script that fails at its start would run in a circle."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                await self._until(lambda: False)

    def _over(self) -> bool:
        orders = self._agency.orders
        return self._ending or (orders is not None and orders.is_over)

    def _proposed(self) -> Generation | None:
        orders = self._agency.orders
        if self._leaving or orders is None or orders.generation is None or orders.stage is not Stage.PROPOSED:
            return None
        generation = orders.generation
        return None if generation.id == self._joined or generation.rank_of(self._member) is None else generation

    def _ordered(self, generation: Generation, stage: Stage) -> bool:
        """The orders are that `generation` be in `stage`, and nothing else."""
        orders = self._agency.orders
        if self._over() or self._leaving or orders is None or orders.regroup or orders.stop is not None:
            return False
        return orders.generation is not None and orders.generation.id == generation.id and orders.stage is stage

    # --- a generation

    async def _join(self, generation: Generation) -> Failure | None:
        self._joined = generation.id
        self._stand(Phase.FORMED, generation.id)
        await self._until(lambda: not self._ordered(generation, Stage.PROPOSED))
        return await self._take_part(generation) if self._ordered(generation, Stage.RUNNING) else None

    async def _take_part(self, generation: Generation) -> Failure | None:
        """Run the script until it ends, or until the generation is over; the failure it ended with."""
        part = asyncio.create_task(self._run_script(generation))
        over = asyncio.create_task(self._until(lambda: not self._ordered(generation, Stage.RUNNING)))
        await asyncio.wait({part, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if part.done():
            return part.result()
        if self._life is not None:
            await self._life.end(self._agency.settings.end_seconds)
            await asyncio.wait({part}, timeout=_DRAIN_SECONDS)  # its last output
        part.cancel()
        await asyncio.wait({part})
        return None

    async def _run_script(self, generation: Generation) -> Failure | None:
        rank = generation.rank_of(self._member)
        assert rank is not None
        self._stand(Phase.RESTORING, generation.id)
        if rank == 0 and generation.source.kind == "Storage":
            try:
                await self._open(generation)
            except UserMistakeError as error:
                return self._gone(Failure(member=self._member, cause=error.cause, message=str(error)[:1024], generation=generation.id))
        port = await self._agree_on_port(generation, rank)
        self._state = State(attempt=generation.id.attempt, step=0, digest=SCRIPT)
        self._stand(Phase.STEPPING, generation.id)
        told = self._agency.settings
        workers = told.spec.workers
        gpus = workers.gpus // workers.processes_per_worker
        names = script_environment(generation, rank, port, told.told.job_uid, told.spec.recovery.max_failures, gpus)
        end, reason = await self._live(names)
        if not self._ordered(generation, Stage.RUNNING):
            return None  # killed, or cut off by the others' end
        if end.exit_code == 0:
            self._stand(Phase.FINISHING, generation.id)
            await self._finish(generation, rank)
            return None
        return self._failed(generation, end, reason)

    async def _open(self, generation: Generation) -> bool:
        files = SharedFiles()
        try:
            opened = await self._agency.open_attempt(generation.id, generation.restore, files)
        finally:
            files.close()
        return opened.error is None

    async def _live(self, names: Mapping[str, str]) -> tuple[End, str]:
        """How the script ended, and why as far as its output tells."""
        log = self._agency.begin_log(self._member)
        settings = self._agency.settings
        environment = child_environment(settings.environ, names, settings.spec.training.seed)
        environment.setdefault("OMP_NUM_THREADS", "1")
        try:
            end = await self._one_life(environment, log)
            log.note(f"the script ended with {end.exit_code}")
            return end, log.reason
        finally:
            self._life = None
            self._agency.end_log(self._member)

    async def _one_life(self, environment: Mapping[str, str], log: LifeLog) -> End:
        try:
            self._life = Life.start([expand(word, environment) for word in self._command], environment, log)
        except (OSError, ValueError) as error:
            if not _is_the_commands_fault(error):
                raise
            log.feed(f"spec.training.script.command: cannot be started: {error}; shorten or correct it\n".encode())
            return End(ExitCode.USER_ERROR, 0.0, 0)
        return await self._life.wait()

    def _failed(self, generation: Generation, end: End, reason: str) -> Failure | None:
        """Tell the end of this life; the next one has another number from now on, whatever is ordered until it starts."""
        blank = Stamp(generation.id, None, Phase.STEPPING, 0, 0, 0)
        failure = self._gone(classify(self._member, end.exit_code, blank, last_line=reason, mistake=None, oom_kills=end.oom_kills))
        if failure is None or failure.cause in FINAL:
            return failure
        self._delay = restart_delay(self._delay, end.lived_seconds)
        logger.warning(
            "script of %s ended (%s: %s); it starts again in %g s",
            self._member.label(), failure.cause, failure.message, self._delay,
        )  # fmt: skip
        self._renew()
        return failure

    async def _finish(self, generation: Generation, rank: int) -> None:
        """Tell the others until the generation is over. Said again and again: a restarted rendezvous has forgotten it."""
        keys = tuple(f"{_FINISHED_KEY}/{other}" for other in range(len(generation.seats)))
        finished, tries = False, 0
        while True:
            await self._store(generation, "set", (keys[rank],), _encode("1"))
            if rank == 0 and not finished and (await self._store(generation, "check", keys)).value == "1":
                finished = await self._agency.finish(generation.id)
                tries += 1
            refused = tries > 0 and not finished  # until somebody mends the store's credentials, for one
            await asyncio.sleep(RETRY.seconds(tries, random.random()) if refused else _RETRY_SECONDS)

    # --- the store

    async def _agree_on_port(self, generation: Generation, rank: int) -> int:
        """A port that was free on rank 0's machine a moment ago; the same for all ranks."""
        while True:
            if rank == 0:
                port = _free_port()
                reply = await self._store(generation, "set", (_PORT_KEY,), _encode(str(port)))
                if reply.error is None:
                    return port
            else:
                reply = await self._store(generation, "get", (_PORT_KEY,))
                if reply.error is None and reply.value is not None:
                    return int(base64.b64decode(reply.value))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _store(self, generation: Generation, operation: str, keys: tuple[str, ...], value: str = "") -> StoreReply:
        answer: asyncio.Future[StoreReply] = asyncio.get_running_loop().create_future()
        request = StoreRequest.model_validate(
            {
                "id": 0,
                "operation": operation,
                "prefix": generation.id.label(),
                "keys": keys,
                "value": value,
                "timeout_seconds": _WAIT_SECONDS,
            }
        )
        self._agency.ask_store(request, lambda reply: None if answer.done() else answer.set_result(reply))
        return await answer

    # --- standing

    def _gone(self, failure: Failure | None) -> Failure | None:
        self.report = MemberReport(member=self._member, phase=Phase.GONE, failure=failure)
        self._agency.report(self.report)
        return failure

    def _renew(self) -> None:
        self.report = MemberReport(member=self._member._replace(life=self._member.life + 1), phase=Phase.STARTING)
        self._stand(Phase.STARTING)

    def _stand(self, phase: Phase, generation: GenerationId | None = None) -> None:
        state = self._state if phase in (Phase.STARTING, Phase.IDLE, Phase.FORMED) else None
        self.report = MemberReport(member=self._member, phase=phase, generation=generation, state=state)
        self._agency.report(self.report)


def _is_the_commands_fault(error: OSError | ValueError) -> bool:
    """There can never be such a process: too long, or a zero byte in a word."""
    return error.errno == errno.E2BIG if isinstance(error, OSError) else True


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
