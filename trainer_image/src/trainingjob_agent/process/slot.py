"""One process slot of the worker: the lives of its training process, one after another. Effects: processes.

It decides one thing: when the next life starts. A user error ends the slot, everything else is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time

from trainingjob_agent.arena import ArenaOwner
from trainingjob_agent.process.conversation import Agency, Conversation
from trainingjob_agent.process.failure import FINAL, classify, restart_delay
from trainingjob_agent.process.hang import generation_is_over, hung, stuck
from trainingjob_agent.process.life import End, Life, child_environment
from trainingjob_agent.process.output import LifeLog
from trainingjob_agent.stamp import Stamp, StampPage, outward
from trainingjob_api import procfs
from trainingjob_api.contract.channel import ProcessEnvironment
from trainingjob_api.contract.messages import MemberId, MemberReport, Orders, Phase
from trainingjob_api.contract.stamps import MemberStamp

logger = logging.getLogger(__name__)
_WATCH_SECONDS = 1.0
TRAINER = (sys.executable, "-Pm", "trainingjob_trainer")


class TrainerSlot:
    """A slot whose lives are training processes."""

    def __init__(self, agency: Agency, process: int) -> None:
        told = agency.settings.told
        self._agency = agency
        self._arena = ArenaOwner(f"{told.worker}-{process}")
        self._life: Life | None = None
        self._conversation: Conversation | None = None
        self._page: StampPage | None = None
        self._hung: str | None = None
        self._ending = asyncio.Event()
        self.current = MemberReport(member=MemberId(told.worker, told.incarnation, process, 0), phase=Phase.STARTING)

    @property
    def report(self) -> MemberReport:
        """How the present life stands, or the last one ended."""
        return self._conversation.current if self._conversation else self.current

    def told(self, orders: Orders) -> None:
        """Hand orders on."""
        if self._conversation is not None:
            self._conversation.tell(orders)

    def stamp(self) -> Stamp | None:
        """Where the process is right now."""
        return self._page.read() if self._page else None

    def member_stamp(self) -> MemberStamp | None:
        """The stamp of a process that has got ready, as the rendezvous is told it."""
        life, conversation, stamp = self._life, self._conversation, self.stamp()
        if life is None or conversation is None or stamp is None or stamp.phase is Phase.STARTING:
            return None
        found = outward(conversation.current.member, stamp, time.monotonic_ns(), conversation.step_seconds, conversation.links)
        return found.model_copy(update={"stopped": True}) if procfs.is_stopped(life.pid) else found

    async def run(self) -> None:
        """Live until `end`, until the job is done, or until a life ends for good."""
        member = self.current.member
        delay: float | None = None
        while not self._ending.is_set():
            ended, lived_seconds = await self._live(member)
            self.current = ended
            self._agency.report(ended)
            if ended.failure is None or ended.failure.cause in FINAL:
                return
            delay = restart_delay(delay, lived_seconds)
            logger.warning(
                "training process %s ended (%s: %s); the next starts in %g s",
                member.label(), ended.failure.cause, ended.failure.message, delay,
            )  # fmt: skip
            await self._pause(delay)
            member = member._replace(life=member.life + 1)

    def leave(self) -> None:
        """The worker is to leave. The process hears of it by the orders that follow, at a step boundary."""

    async def end(self, grace_seconds: float) -> None:
        """End the present life and start no other."""
        self._ending.set()
        if self._life is not None:
            await self._life.end(grace_seconds)

    def kill(self) -> None:
        """End the present life at once and start no other."""
        self._ending.set()
        if self._life is not None:
            self._life.signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the arena back."""
        self._arena.close()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return

    async def _live(self, member: MemberId) -> tuple[MemberReport, float]:
        """One life, from start to end."""
        self._hung = None
        log = self._agency.begin_log(member)
        self._page = page = StampPage(f"{member.worker}-{member.process}")
        self._conversation = conversation = Conversation(self._agency, member, self._arena, lambda why: self._break(log, why))
        try:
            self._life = self._start(member, conversation, page, log)
            if self._ending.is_set():
                self._life.signal(signal.SIGKILL)
            talking = asyncio.create_task(conversation.run())
            watching = asyncio.create_task(self._watch(self._life, page, log))
            try:
                end = await self._life.wait()
            finally:
                watching.cancel()
            await asyncio.wait({talking}, timeout=1.0)  # its last words
            return self._ended(member, end, page.read(), log, conversation), end.lived_seconds
        finally:
            self._life = self._conversation = self._page = None
            conversation.close()
            page.close()
            self._agency.end_log(member)

    async def _watch(self, life: Life, page: StampPage, log: LifeLog) -> None:
        """Kill a life that is hung; the next one takes its place."""
        born_ns, moved_ns = time.monotonic_ns(), time.monotonic_ns()
        over_ns: int | None = None
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now_ns, stamp = time.monotonic_ns(), page.read()
            over_ns = (over_ns or now_ns) if generation_is_over(self.report, self._agency.orders) else None
            why = hung(stamp, now_ns, born_ns) or stuck(stamp, now_ns, over_ns)
            if not procfs.is_stopped(life.pid):
                moved_ns = now_ns
            elif now_ns - moved_ns > self._agency.settings.stopped_seconds * 1e9:
                why = f"hung: stopped by a signal for {(now_ns - moved_ns) / 1e9:.0f} s"
            if why is not None:
                self._hung = why
                self._break(log, why)
                return

    def _start(self, member: MemberId, conversation: Conversation, page: StampPage, log: LifeLog) -> Life:
        settings = self._agency.settings
        told = ProcessEnvironment(
            job=settings.told.job,
            config=settings.told.config,
            channel=conversation.channel.child_descriptor,
            stamp=page.descriptor,
            worker=member.worker,
            incarnation=member.incarnation,
            process=member.process,
            life=member.life,
            interface=settings.told.interface,
            import_path=settings.environ.get("PYTHONPATH", ""),
        )
        environment = child_environment(settings.environ, told.to_env(), settings.spec.training.seed)
        environment.pop("PYTHONPATH", None)  # a random.py of the user's is not to be torch's and ours
        return Life.start(TRAINER, environment, log, (told.channel, told.stamp))

    def _ended(self, member: MemberId, end: End, stamp: Stamp, log: LifeLog, conversation: Conversation) -> MemberReport:
        orders = self._agency.orders
        failure = classify(
            member,
            end.exit_code,
            stamp,
            last_line=log.reason,
            mistake=conversation.mistake,
            oom_kills=end.oom_kills,
            raised=conversation.raised,
            hung=self._hung,
            unanswered=conversation.unanswered,
            done=orders is not None and orders.is_over,
        )
        log.note(f"the process ended with {end.exit_code}" + (f" ({failure.cause}: {failure.message})" if failure else ""))
        wanted = self._ending.is_set() and (failure is None or failure.cause not in FINAL)
        return MemberReport(member=member, phase=Phase.GONE, failure=None if wanted else failure)

    def _break(self, log: LifeLog, why: str) -> None:
        log.note(f"killed: {why}")
        if self._life is not None:
            self._life.signal(signal.SIGKILL)
