"""What one life of a training process says and asks, and what it is answered. Effects: through the agency only.

Everything here ends with the life, but for uploads: what lies in the arena outlives the process. It must not decide what a
failure means, nor when the next life starts.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Protocol

from trainingjob_agent.arena import ArenaOwner, Lease, SharedFiles
from trainingjob_agent.process.channel import Channel, ChannelBrokenError
from trainingjob_agent.process.failure import UserMistakeError
from trainingjob_agent.process.output import LifeLog
from trainingjob_agent.settings import Settings
from trainingjob_api.contract.channel import (
    ExportModel,
    Links,
    NeedArena,
    OpenAttempt,
    Opened,
    Pace,
    ProcessMessage,
    Raised,
    Released,
    Snapshot,
    Standing,
    UserError,
)
from trainingjob_api.contract.messages import (
    GenerationId,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Progress,
    Restore,
    StoreReply,
    StoreRequest,
)

logger = logging.getLogger(__name__)


class Agency(Protocol):
    """What a slot asks of the agent."""

    @property
    def settings(self) -> Settings:
        """What the agent works by."""

    @property
    def orders(self) -> Orders | None:
        """The newest ones."""

    def report(self, report: MemberReport) -> None:
        """A member stands differently."""

    def progress(self, progress: Progress) -> None:
        """A member has made progress."""

    def restamped(self) -> None:
        """A member sees something of its connections that the rendezvous is to hear of at once."""

    def ask_store(self, request: StoreRequest, answer: Callable[[StoreReply], None]) -> None:
        """A call of the process groups' store; the reply carries the request's id."""

    def begin_log(self, member: MemberId) -> LifeLog:
        """The log file of a life; it is uploaded as it grows."""

    def end_log(self, member: MemberId) -> None:
        """A life's output is whole."""

    async def upload(self, member: MemberId, lease: Lease, snapshot: Snapshot) -> Released:
        """Bring a snapshot to storage and tell the rendezvous."""

    async def export(self, lease: Lease, model: ExportModel) -> Released:
        """Bring the finished model to storage, and end the job's log with `done`."""

    async def open_attempt(self, generation: GenerationId, restore: Restore, files: SharedFiles) -> Opened:
        """Fence an attempt and read its checkpoint into `files`.

        Raises:
            UserMistakeError: it can never be opened as the manifest says.
        """

    async def finish(self, generation: GenerationId) -> bool:
        """End the job's log with `done`, without a model. Return whether it is there."""


class Conversation:
    """One life's words."""

    def __init__(self, agency: Agency, member: MemberId, arena: ArenaOwner, broken: Callable[[str], None]) -> None:
        """Set up the channel.

        Args:
            agency: who answers.
            member: this life.
            arena: the slot's memory.
            broken: told why the life cannot go on: the process spoke nonsense, or an answer could not be given.
        """
        self.channel = Channel()
        self.mistake: UserMistakeError | None = None
        self.raised: Raised | None = None
        self.unanswered: str | None = None
        """Why the agent could not answer it, and ended it."""
        self.current = MemberReport(member=member, phase=Phase.STARTING)
        self.step_seconds = 0.0
        self.links: Links | None = None
        self._agency = agency
        self._member = member
        self._arena = arena
        self._broken = broken
        self._lease: Lease | None = None
        self._lent = 0
        self._files = SharedFiles()
        self._answers: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._over = False

    async def run(self) -> None:
        """Listen until the process closes its end."""
        await self.channel.connect()
        self._report(self.current)
        if self._agency.orders is not None:
            self.tell(self._agency.orders)
        try:
            await self.channel.serve(self._heard)
        except ChannelBrokenError as error:
            self._broken(str(error))

    def tell(self, orders: Orders) -> None:
        """Hand orders on."""
        self.channel.send(orders)

    def close(self) -> None:
        """The life is over. Uploads go on."""
        self._over = True
        if self._opening is not None:
            self._opening.cancel()
        self.channel.close()
        self._files.close()

    def _heard(self, message: ProcessMessage) -> None:
        match message:
            case Standing():
                self._files.close()
                self._report(MemberReport(member=self._member, phase=message.phase, generation=message.generation, state=message.state))
            case Pace() | Links():
                self._moves(message)
            case StoreRequest():
                self._agency.ask_store(message, self.channel.send)
            case UserError() | Raised():
                self._last_words(message)
            case NeedArena():
                self._answer(self._lend(message))
            case Snapshot():
                self._answer(self._upload(message))
            case ExportModel():
                self._answer(self._export(message))
            case OpenAttempt():
                if self._opening is not None:  # of a generation that is over: it must not fence any more
                    self._opening.cancel()
                self._opening = self._answer(self._open(message))

    def _moves(self, message: Pace | Links) -> None:
        if isinstance(message, Links):
            self.links = message
            self._agency.restamped()
            return
        self.step_seconds = message.step_seconds if math.isfinite(message.step_seconds) else 0.0
        self._agency.progress(_progress(self._member, message))

    def _last_words(self, message: UserError | Raised) -> None:
        if isinstance(message, Raised):
            self.raised = message
            return
        self.mistake = UserMistakeError(message.message)
        logger.error("training process %s: %s", self._member.label(), message.message)

    def _report(self, report: MemberReport) -> None:
        self.current = report
        self._agency.report(report)

    def _answer(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._answers.add(task)
        task.add_done_callback(self._answered)
        return task

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._over:
            logger.error("training process %s cannot be answered", self._member.label(), exc_info=error)
            self.unanswered = f"its agent could not answer it: {type(error).__name__}: {error}"
            self._broken(self.unanswered)  # it would wait for ever

    async def _lend(self, wish: NeedArena) -> None:
        lease = await asyncio.to_thread(self._arena.lease, wish.bytes, wish.buffers, self._lent)
        self._lent += wish.buffers
        self._lease = lease
        self.channel.send(lease.arena)
        for number in lease.arena.busy:
            lease.when_free(number, partial(self.channel.send, Released(buffer=number)))

    async def _upload(self, snapshot: Snapshot) -> None:
        if self._lease is None:
            raise ValueError("a snapshot without an arena")
        self.channel.send(await self._agency.upload(self._member, self._lease, snapshot))

    async def _export(self, model: ExportModel) -> None:
        if self._lease is None:
            raise ValueError("an exported model without an arena")
        self.channel.send(await self._agency.export(self._lease, model))

    async def _open(self, wish: OpenAttempt) -> None:
        try:
            opened = await self._agency.open_attempt(wish.generation, wish.restore, self._files)
        except UserMistakeError as error:
            self.mistake = error
            self._broken(str(error))
            return
        if self._over:
            self._files.close()
        self.channel.send(opened)


def _progress(member: MemberId, pace: Pace) -> Progress:
    """Numbers that are not finite have no place in JSON: the loss becomes None, a metric is left out."""
    return Progress(
        member=member,
        step=pace.step,
        total_steps=pace.total_steps,
        loss=pace.loss if pace.loss is not None and math.isfinite(pace.loss) else None,
        samples_per_second=pace.samples_per_second if math.isfinite(pace.samples_per_second) else 0.0,
        training_seconds=pace.training_seconds,
        metrics={name: value for name, value in pace.metrics.items() if math.isfinite(value)},
        skipping_since=pace.skipping_since,
        not_finite=pace.not_finite,
    )
