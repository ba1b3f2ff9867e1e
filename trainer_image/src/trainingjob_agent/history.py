"""The job's log as this agent writes it: opens attempts, commits saves, ends the job. Effects: object store, in one thread.

What the log means is `trainingjob_storage.journal`'s; here is only what an agent makes of its answers. Each answer is told
to the rendezvous as a LogPosition.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trainingjob_agent.answers import Answers
from trainingjob_agent.arena import Lease, SharedFiles
from trainingjob_agent.process.failure import ForeignStorageError, UserMistakeError
from trainingjob_agent.trouble import Trouble
from trainingjob_agent.uploads import RETRY, retried
from trainingjob_api.contract.channel import ExportModel, Opened, Released
from trainingjob_api.contract.messages import Commit, GenerationId, Keep, LogPosition, Restore, SaveId
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_api.storage.manifest import Manifest
from trainingjob_storage.errors import AttemptTaken, Corrupt, Fenced, NotWhole, OwnedByAnother, Refused, StorageError
from trainingjob_storage.journal import Journal, Opening
from trainingjob_storage.store import Store, probe

logger = logging.getLogger(__name__)
T = TypeVar("T")
_OPENING = "opening the attempt"
_KEEPING = "keeping a checkpoint for a rollback"


class _Shards:
    """Takes a checkpoint's shards into memory that the training process can read."""

    def __init__(self, files: SharedFiles) -> None:
        self._files = files
        self.paths: dict[str, str] = {}

    def begin(self, manifest: Manifest) -> None:
        self._files.close()
        self.paths = {}

    def shard(self, name: str, data: bytes) -> None:
        self.paths[name] = self._files.add(name, [data])


class History:
    """This agent's hand on the log."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        *,
        keep: int,
        attempts: int,
        trouble: Trouble,
        moved: Callable[[LogPosition], None],
        answers: Answers | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            store: the job's storage.
            journal: the job's log in it.
            keep: checkpoints that retention leaves.
            attempts: tries of a commit before another agent may do it.
            trouble: told what the store does not do.
            moved: told each newest position.
            answers: watches over the store while it is asked.
        """
        self._answers = answers
        self._store = store
        self._journal = journal
        self._retained = keep
        self._attempts = attempts
        self._trouble = trouble
        self._moved = moved
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._committing: set[SaveId] = set()
        self._probed = False

    async def open(self, generation: GenerationId, restore: Restore, files: SharedFiles) -> Opened:
        """Fence an attempt and read its checkpoint into `files`. Wait for a store that cannot be reached, or whose log cannot be read.

        Whatever keeps the attempt from being opened is reported as trouble, but for an attempt that is taken: the next one follows at once.

        Raises:
            ForeignStorageError: the storage belongs to another job.
            UserMistakeError: it refuses.
        """
        shards = _Shards(files)

        def read() -> Opening:
            if not self._probed:
                probe(self._store, generation.label())
                self._probed = True
            return self._journal.restore(generation, restore, shards)

        try:
            opening = await self._insist(_OPENING, read, f"attempt {generation.attempt} cannot be opened", (Refused, Fenced))
        except AttemptTaken as error:
            logger.info("%s", error)
            await self.look()
            return Opened(error=str(error), generation=generation)
        except OwnedByAnother as error:
            raise ForeignStorageError(str(error)) from error
        except Refused as error:
            raise UserMistakeError(str(error)) from error
        except Fenced as error:
            self._trouble.failed(_OPENING, error)
            logger.error("attempt %d cannot be opened: %s", generation.attempt, error)
            return Opened(error=str(error), generation=generation)
        self._moved(opening.position)
        logger.info("opened attempt %d at step %s", generation.attempt, opening.step)
        manifest = None if opening.manifest is None else opening.manifest.to_bytes().decode()
        return Opened(manifest=manifest, files=shards.paths if manifest else {}, generation=generation)

    async def commit(self, commit: Commit, epoch: int) -> None:
        """Make a save visible, then let go what need not be kept. What fails is logged: the rendezvous asks again or gives up."""
        if commit.save in self._committing:
            return
        self._committing.add(commit.save)
        try:
            self._moved(
                await retried(
                    "commit", lambda: self._journal.commit(commit, epoch), self._pool, self._attempts, self._trouble, self._answers
                )
            )
        except Fenced as error:
            logger.warning("step %d is not committed: %s", commit.save.step, error)
            await self.look()
            return
        except (NotWhole, Corrupt, StorageError) as error:
            logger.error("step %d is not committed: %s", commit.save.step, error)
            return
        finally:
            self._committing.discard(commit.save)
        await self._tidy(Authority(commit.save.generation.attempt, max(epoch, commit.save.generation.epoch)))

    async def keep(self, wanted: Keep) -> None:
        """Pin the checkpoint of a rollback, or find that it is gone, and report which. A failing store is tried again without end."""
        found = await self._insist(_KEEPING, lambda: self._journal.pin(wanted), f"checkpoint {wanted.step} cannot be kept for a rollback")
        logger.info("checkpoint %d %s", wanted.step, "is kept for a rollback" if found.found else "is not there to go back to")
        self._moved(found)

    async def export(self, lease: Lease, model: ExportModel, epoch: int) -> Released:
        """Keep the finished model, then end the log with `done`. A store that cannot be reached is waited for."""
        authority = Authority(model.generation.attempt, max(epoch, model.generation.epoch))
        label = Label(model.step, model.generation.label())

        def keep() -> LogPosition:
            self._journal.export(authority, label, lease.view(model.buffer, model.length), model.metadata)
            return self._journal.done(authority, model.step, model.result)

        try:
            with lease.held(model.buffer):
                self._moved(await retried("export", keep, self._pool, None, self._trouble, self._answers))
        except StorageError as error:
            logger.error("the model is not kept: %s", error)
            await self.look()
            return Released(buffer=model.buffer, ok=False, message=str(error))
        return Released(buffer=model.buffer)

    async def finish(self, generation: GenerationId, epoch: int) -> bool:
        """End the log with `done`, without a model. Return whether it is there; if not, that is logged and told as trouble."""
        authority = Authority(generation.attempt, max(epoch, generation.epoch))
        try:
            self._moved(await retried("done", lambda: self._journal.done(authority, 0, {}), self._pool, None, self._trouble, self._answers))
        except StorageError as error:
            logger.error("the job's end is not in the log: %s", error)
            await self.look()
            return False
        return True

    async def look(self) -> None:
        """Read the log's position again, if the store lets us."""
        try:
            self._moved(await asyncio.get_running_loop().run_in_executor(self._pool, self._journal.position))
        except StorageError as error:
            logger.warning("the log cannot be read: %s", error)

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _insist(self, what: str, call: Callable[[], T], failed: str, useless: tuple[type[StorageError], ...] = ()) -> T:
        """Call until the store does it. A log that cannot be read may be in the middle of being put back.

        Args:
            what: names the call where trouble is reported.
            call: what the store is to do.
            failed: begins the log's line of each failure.
            useless: errors that another try would not mend.

        Raises:
            Those in `useless`.
        """
        tries = 0
        while True:
            try:
                return await retried(what, call, self._pool, None, self._trouble, self._answers)
            except useless:
                raise
            except StorageError as error:
                tries += 1
                self._trouble.failed(what, error)
                delay = RETRY.seconds(tries, random.random())
                logger.error("%s: %s; trying again in %.1f s", failed, error, delay)
                await asyncio.sleep(delay)

    async def _tidy(self, authority: Authority) -> None:
        def tidy() -> LogPosition:
            self._journal.apply_retention(authority, self._retained)
            return self._journal.position()

        try:
            self._moved(await asyncio.get_running_loop().run_in_executor(self._pool, tidy))
        except StorageError as error:
            logger.warning("old checkpoints stay for now: %s", error)
