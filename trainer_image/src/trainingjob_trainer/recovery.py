"""The life of this process from generation to generation. Effects: the transport, the training state, the channel.

wait for orders → form the group → Formed → Running → one state for all → steps → Idle, and again. At every point newer
orders or a lost peer lead back to Idle, with the state that is left. It decides nothing: who is in a generation, and
when one is over, is the rendezvous' word.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from trainingjob_api.contract.channel import OpenAttempt
from trainingjob_api.contract.messages import Generation, GenerationId, MemberId, Orders, Phase, Stage
from trainingjob_api.storage.manifest import BadManifest, Manifest, parse_manifest
from trainingjob_trainer.channel import Channel, Superseded
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.checkpoint.identity import changes
from trainingjob_trainer.checkpoint.peer import LayoutError, synchronise
from trainingjob_trainer.checkpoint.shard import RestoreError, restore
from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.loop import Run, Saving, run_steps, skip, snapshot
from trainingjob_trainer.reporting import Reporter
from trainingjob_trainer.session import Session
from trainingjob_trainer.transport.port import Forming, Interrupted

logger = logging.getLogger(__name__)


class Member:
    """This process as a member of the job.

    Args:
        me: its id.
        session: what it trains.
        channel: to the agent.
        reporter: tells the agent where it stands.
        arena: takes the snapshots.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        me: MemberId,
        session: Session,
        channel: Channel,
        reporter: Reporter,
        arena: SnapshotArena,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._me, self._session, self._channel, self._reporter, self._arena = me, session, channel, reporter, arena
        self._clock = clock
        self._saving = Saving(last=clock())
        self._current: GenerationId | None = None
        self._tried: GenerationId | None = None

    def hear(self, orders: Orders) -> None:
        """In the channel's thread: free the main thread from a generation that is over."""
        if self._current is not None and orders.end(self._current):
            self._session.transport.interrupt()

    def run(self) -> None:
        """Until the job is done or has failed."""
        while True:
            self._reporter.standing(Phase.IDLE, self._tried, self._session.state.summary())
            self._channel.wait(lambda: self._ended() or self._next() is not None)
            generation = self._next()
            if self._ended() or generation is None:
                return
            self._tried = self._current = generation.id
            self._take_part(generation)
            self._current = None
            if self._ended():
                return

    def _ended(self) -> bool:
        orders = self._channel.orders
        return orders is not None and orders.is_over

    def _next(self) -> Generation | None:
        """The generation to enter now, if this process has a seat in it and has not tried it yet."""
        orders = self._channel.orders
        if orders is None or orders.generation is None or orders.stage is not Stage.PROPOSED or orders.generation.id == self._tried:
            return None
        return orders.generation if orders.generation.rank_of(self._me) is not None else None

    def _superseded(self) -> bool:
        orders = self._channel.orders
        return self._current is None or orders is None or orders.end(self._current)

    def _take_part(self, generation: Generation) -> None:
        label = generation.id.label()
        rank = generation.rank_of(self._me)
        assert rank is not None
        logger.info("generation %s: rank %d of %d (%s)", label, rank, len(generation.seats), generation.reason)
        try:
            self._form(generation, rank)
            self._run(generation, rank)
        except (Interrupted, Superseded) as cause:
            self._session.transport.interrupt()
            logger.info("generation %s: left after step %d: %s", label, self._session.state.step, type(cause).__name__)
        else:
            self._session.transport.retire()
            logger.info("generation %s: left in order after step %d", label, self._session.state.step)

    def _form(self, generation: Generation, rank: int) -> None:
        transport = self._session.transport
        self._reporter.forming(generation.id)
        transport.form(generation, rank, self._channel.poke)
        self._channel.wait(lambda: transport.forming is not Forming.PENDING or self._superseded())
        if self._superseded() or transport.forming is not Forming.FORMED:
            raise Superseded
        self._reporter.standing(Phase.FORMED, generation.id, self._session.state.summary())
        self._channel.wait(lambda: self._superseded() or self._is_running())
        if self._superseded():
            raise Superseded

    def _is_running(self) -> bool:
        return self._channel.orders is not None and self._channel.orders.stage is Stage.RUNNING

    def _run(self, generation: Generation, rank: int) -> None:
        run = Run(self._session, generation, rank, self._channel, self._reporter, self._arena, self._saving, self._superseded, self._clock)
        run.phase(Phase.RESTORING)
        self._agree_on_state(generation, rank)
        names = [_name(seat.member) for seat in generation.seats]
        self._session.strategy.start(rank, len(generation.seats), self._session.lanes(), names)
        self._reporter.regrouped(rank)
        if generation.purpose == "Save":
            self._arena.fit(len(generation.seats))
            self._arena.settle(self._superseded)
            # The agent and the rendezvous see to the rest; without room the rendezvous asks again. A newcomer must not wait for storage.
            snapshot(run) if run.has_room() else skip(run)
        else:
            run_steps(run)

    def _agree_on_state(self, generation: Generation, rank: int) -> None:
        session, source = self._session, generation.source
        if source.kind == "Storage" and rank == 0:
            self._open(generation)
        root = source.rank if source.kind == "Peer" else 0
        try:
            synchronise(session.state, session.position(), session.transport, rank, len(generation.seats), root)
        except LayoutError as error:
            raise UserMistake(str(error)) from error

    def _open(self, generation: Generation) -> None:
        """Take the attempt's state from storage, or begin anew."""
        session, attempt = self._session, generation.id.attempt
        opened = self._channel.open_attempt(OpenAttempt(generation=generation.id, restore=generation.restore), self._superseded)
        if opened.error is not None:
            # The agent has reported why; of an attempt that is taken already it need not, since the next one follows at once.
            logger.info("attempt %d is not opened: %s", attempt, opened.error)
            self._channel.wait(self._superseded)
            raise Superseded
        if opened.manifest is None:
            session.restart(attempt)
            return
        try:
            manifest = parse_manifest(opened.manifest.encode())
            with session.state.changing():
                restore(manifest, opened.files, session.state.tensors())
                self._take_change(manifest)
                session.state.adopt(manifest.position, attempt)
        except (RestoreError, BadManifest) as error:
            raise UserMistake(str(error)) from error
        logger.info("attempt %d: restored the checkpoint of step %d", attempt, session.state.step)

    def _take_change(self, manifest: Manifest) -> None:
        """Compare what the checkpoint was made of with what there is now; a change must have been declared.

        Raises:
            UserMistake: it was not.
        """
        session = self._session
        changed = changes(manifest.position, session.made_of)
        if not changed:
            return
        epoch, within = session.order.place(manifest.step)
        goes_on = f"step {manifest.step + 1} is step {within + 1} of {session.order.steps_per_epoch} in epoch {epoch + 1}"
        if not session.spec.checkpoint.allow_changes:
            raise UserMistake(
                f"spec.checkpoint.allowChanges: the checkpoint of step {manifest.step} was made with {changed}; put that back, or set "
                f"allowChanges: true to go on: {goes_on} then"
            )
        logger.warning("the checkpoint of step %d was made with %s; as allowChanges says, it goes on: %s", manifest.step, changed, goes_on)


def _name(member: MemberId) -> str:
    return f"worker {member.worker}" + (f", process {member.process}" if member.process else "")
