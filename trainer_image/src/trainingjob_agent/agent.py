"""The agent: its parts put together, and its ways out. Effects, all through its parts.

It takes no decision about membership or steps: it hands on what the rendezvous orders and what its training processes say. Its own are the
ways out: done, failed, told to leave, refused, no rendezvous, a user error.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from trainingjob_agent.arena import Lease, SharedFiles
from trainingjob_agent.departure import SETTLED_SECONDS, at_rest, closing
from trainingjob_agent.history import History
from trainingjob_agent.link import Link, Peer, RefusedError, RendezvousLostError, StoreRelay, TooLongError
from trainingjob_agent.outbox import Outbox
from trainingjob_agent.process.failure import FINAL
from trainingjob_agent.process.output import Console, LifeLog
from trainingjob_agent.process.script import ScriptSlot
from trainingjob_agent.process.slot import TrainerSlot
from trainingjob_agent.settings import Settings
from trainingjob_agent.trouble import Trouble
from trainingjob_agent.uploads import RunLogs, Uploads
from trainingjob_api.contract.channel import ExportModel, Opened, Released, Snapshot
from trainingjob_api.contract.messages import (
    AgentMessage,
    Beat,
    Commit,
    GenerationId,
    Hello,
    Keep,
    Leaving,
    LogPosition,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Progress,
    Restore,
    Saved,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.contract.runtime import CONTRACT_VERSION, ExitCode, Termination
from trainingjob_storage.errors import StorageError

logger = logging.getLogger(__name__)
_LAST_UPLOADS_SECONDS = 10.0
_LAST_WORDS_SECONDS = 1.0
_STAMP_SECONDS = 1.0


class Agent:
    """One worker's agent. Make it on the event loop of the main thread."""

    def __init__(
        self,
        settings: Settings,
        peer: Peer,
        uploads: Uploads,
        history: Callable[[Callable[[LogPosition], None]], History],
        console: Console,
        trouble: Trouble,
    ) -> None:
        """Nothing is started yet; `history` is made with the callback for its positions, `trouble` is what it and `uploads` tell of."""
        self.settings = settings
        self._uploads = uploads
        self._trouble = trouble
        trouble.listen(lambda: self._say(self._beat()))
        self._history = history(self._moved)
        self._logs = RunLogs(settings, console, uploads)
        self._outbox = Outbox()
        self._relay = StoreRelay(self._say)
        recovery = settings.spec.recovery
        self._link = Link(
            peer,
            beat_seconds=settings.beat_seconds,
            beat=self._beat,
            startup_seconds=recovery.startup_timeout_seconds,
            greet=self._greet,
            receive=self._heard,
            lost=self._relay.lost,
        )
        command = settings.command
        count = settings.spec.workers.processes_per_worker
        self.slots: tuple[TrainerSlot | ScriptSlot, ...] = tuple(
            TrainerSlot(self, process) if command is None else ScriptSlot(self, process, command) for process in range(count)
        )
        self._step: int | None = None
        self._saving = 0
        self._outcome: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._killed = False
        self._grace_over_at: float | None = None
        """When the grace of this agent's own SIGTERM is over, on the monotonic clock."""
        self._changed = asyncio.Event()

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> Termination:
        """Work until there is a way out; the last words are returned once all processes have ended."""
        self._spawn(self._keep_link())
        self._spawn(self._logs.run())
        self._spawn(self._keep_stamps())
        lives = [self._spawn(self._keep_slot(slot)) for slot in self.slots]
        words = await self._outcome
        await self._end_processes(lives)
        await self._last_uploads()
        await self._link.flush(_LAST_WORDS_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for slot in self.slots:
            slot.close()
        self._uploads.close()
        self._history.close()
        return words

    def leave(self) -> None:
        """SIGTERM: leave at the next step boundary; the second one: at once."""
        if self._outbox.leaving:
            self._killed = True
            for slot in self.slots:
                slot.kill()
            self._finish(ExitCode.DONE, "told twice to end")
            return
        self._outbox.leaving = True
        self._grace_over_at = time.monotonic() + self.settings.grace_seconds
        self._say(Leaving())
        for slot in self.slots:
            slot.leave()
        self._spawn(self._depart())

    async def _depart(self) -> None:
        limit = time.monotonic() + self.settings.leave_seconds
        resting_since: float | None = None
        while (now := time.monotonic()) < limit:
            # A script's worker has nothing that it could be wanted for once more.
            orders = self.orders if self.settings.command is None else None
            rests = at_rest([slot.report for slot in self.slots], orders) and self._saving == 0
            resting_since = (resting_since or now) if rests else None
            if resting_since is not None and now >= resting_since + SETTLED_SECONDS:
                self._finish(ExitCode.DONE, "left in order when told to end")
                return
            await self._change(min(limit, (resting_since or limit) + SETTLED_SECONDS) - now)
        self._finish(ExitCode.DONE, f"told to end; the members reached no step boundary within {self.settings.leave_seconds:g} s")

    async def _change(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _keep_link(self) -> None:
        try:
            await self._link.run()
        except RefusedError as error:
            self._finish(ExitCode.REFUSED, str(error))
        except RendezvousLostError as error:
            self._finish(ExitCode.RENDEZVOUS_LOST, str(error))

    async def _keep_slot(self, slot: TrainerSlot | ScriptSlot) -> None:
        await slot.run()
        failure = slot.report.failure
        if failure is None or failure.cause not in FINAL:
            return
        # The rendezvous tells the others; until it has, this agent's report is the only trace of the reason.
        limit = time.monotonic() + self.settings.failed_seconds
        while not self._outcome.done() and (left := limit - time.monotonic()) > 0:
            await self._change(left)
        self._finish(FINAL[failure.cause], failure.message)

    def _finish(self, code: ExitCode, message: str) -> None:
        """The first way out is the one taken."""
        if not self._outcome.done():
            logger.info("ending: %s", message)
            self._outcome.set_result(closing(code, message, self.orders, self._outbox.position, self._step))

    async def _end_processes(self, lives: Sequence[asyncio.Task[None]]) -> None:
        # A slot whose process has yet to join, or that waits to start the next one, would only begin again.
        told = [life for life, slot in zip(lives, self.slots, strict=True) if slot.report.phase not in (Phase.STARTING, Phase.GONE)]
        if told and self.orders is not None and self.orders.done and not self._killed:
            await asyncio.wait(told, timeout=self.settings.end_seconds)  # they end by themselves
        await asyncio.gather(*(slot.end(0.0 if self._killed else self.settings.end_seconds) for slot in self.slots))
        await asyncio.wait(lives, timeout=self.settings.end_seconds)

    async def _last_uploads(self) -> None:
        if self._killed:
            return
        left = _LAST_UPLOADS_SECONDS if self._grace_over_at is None else self._grace_over_at - time.monotonic() - _LAST_WORDS_SECONDS
        try:
            async with asyncio.timeout(max(0.0, min(_LAST_UPLOADS_SECONDS, left))):
                while self._saving:
                    await self._change(_LAST_UPLOADS_SECONDS)
                await self._logs.upload()
        except TimeoutError:
            logger.warning("the storage is slow: the last uploads are given up")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the agent of worker %d failed", self.settings.told.worker, exc_info=error)
            self._finish(ExitCode.CRASHED, f"the agent failed: {type(error).__name__}: {error}")

    # --- the rendezvous -------------------------------------------------------------------------

    @property
    def orders(self) -> Orders | None:
        """The newest ones."""
        return self._outbox.orders

    def _greet(self) -> list[AgentMessage]:
        told, outbox = self.settings.told, self._outbox
        hello = Hello(
            contract=CONTRACT_VERSION,
            build=told.build,
            worker=told.worker,
            incarnation=told.incarnation,
            address=told.address,
            epoch=outbox.epoch,
            generation=outbox.generation,
            keeps=True,
            orders=outbox.orders,
            members=outbox.members([slot.report for slot in self.slots], time.monotonic()),
        )
        return [hello, *([self._beat()] if self._trouble.text else []), *outbox.after_hello()]

    def _beat(self) -> Beat:
        stamps = tuple(stamp for slot in self.slots if (stamp := slot.member_stamp()) is not None)
        return Beat(trouble=self._trouble.text, stamps=stamps)

    async def _keep_stamps(self) -> None:
        """Say where the training processes are, also while their progress speaks for this agent."""
        while True:
            await asyncio.sleep(_STAMP_SECONDS)
            if any(slot.report.phase.running() for slot in self.slots):
                self.restamped()

    def _say(self, message: AgentMessage) -> bool:
        return self._link.send(message)

    def _heard(self, message: Orders | StoreReply | Commit) -> None:
        match message:
            case StoreReply():
                self._relay.reply(message)
            case Commit():
                self._spawn(self._history.commit(message, self._outbox.epoch))
            case Orders():
                self._obey(message)

    def _obey(self, orders: Orders) -> None:
        before = self.orders
        if not self._outbox.hear(orders) or orders == before:
            return
        if before is not None and (orders.checkpoint or 0) > (before.checkpoint or 0):
            self._trouble.clear()
        if orders.keep != (before.keep if before is not None else None):
            self._keep(orders.keep)
        for slot in self.slots:
            slot.told(orders)
        self._changed.set()
        if orders.failed is not None:
            self._fail(orders.failed)
        elif orders.done:
            self._spawn(self._done(orders))

    def _keep(self, wanted: Keep | None) -> None:
        """Keep this checkpoint for a rollback, and no longer try to keep another one."""
        if self._keeping is not None:
            self._keeping.cancel()
        self._keeping = self._spawn(self._history.keep(wanted)) if wanted is not None else None

    def _fail(self, reason: str) -> None:
        own = next((slot.report.failure for slot in self.slots if slot.report.failure is not None), None)
        if own is not None and own.cause in FINAL:
            self._finish(FINAL[own.cause], own.message)
        else:
            self._finish(ExitCode.DONE, f"the job has failed: {reason}")

    async def _done(self, orders: Orders) -> None:
        if orders.stop is not None:  # stopped, or finished before it could be: the log knows
            try:
                async with asyncio.timeout(_LAST_UPLOADS_SECONDS):
                    await self._history.look()
            except TimeoutError:
                logger.warning("the log is slow to read")
        self._finish(ExitCode.DONE, "stopped on request" if orders.stop is not None else "the job is done")

    # --- what the slots ask -----------------------------------------------------------------------

    def report(self, report: MemberReport) -> None:
        """A member stands differently."""
        self._outbox.report(report, time.monotonic())
        self._say(report)
        self._changed.set()

    def progress(self, progress: Progress) -> None:
        """A member has made progress."""
        self._step = max(self._step or 0, progress.step)
        self._say(progress)

    def restamped(self) -> None:
        """A member sees something of its connections that the rendezvous is to hear of at once."""
        self._say(self._beat())

    def ask_store(self, request: StoreRequest, answer: Callable[[StoreReply], None]) -> None:
        """A call of the process groups' store."""
        self._relay.ask(request, answer)

    def begin_log(self, member: MemberId) -> LifeLog:
        """The log file of a life."""
        return self._logs.begin(member)

    def end_log(self, member: MemberId) -> None:
        """A life's output is whole."""
        self._logs.end(member)

    async def upload(self, member: MemberId, lease: Lease, snapshot: Snapshot) -> Released:
        """Bring a snapshot to storage and tell the rendezvous; if that fails the save is void, and training goes on."""
        self._saving += 1
        try:
            shard = await self._uploads.shard(lease, snapshot)
            saved = Saved(member=member, save=snapshot.save, shard=shard, position=snapshot.position)
            self._say(saved)
            self._outbox.saved(saved)
        except (StorageError, TooLongError) as error:
            logger.error("the save of step %d is void: %s", snapshot.save.step, error)
            return Released(buffer=snapshot.buffer, ok=False, message=str(error)[:1024])
        finally:
            self._saving -= 1
            self._changed.set()
        return Released(buffer=snapshot.buffer)

    async def export(self, lease: Lease, model: ExportModel) -> Released:
        """Bring the finished model to storage, and end the job's log with `done`."""
        return await self._history.export(lease, model, self._outbox.epoch)

    async def open_attempt(self, generation: GenerationId, restore: Restore, files: SharedFiles) -> Opened:
        """Fence an attempt and read its checkpoint into `files`."""
        return await self._history.open(generation, restore, files)

    async def finish(self, generation: GenerationId) -> bool:
        """End the job's log with `done`, without a model. Return whether it is there."""
        return await self._history.finish(generation, self._outbox.epoch)

    def _moved(self, position: LogPosition) -> None:
        self._outbox.position = position
        self._say(position)
