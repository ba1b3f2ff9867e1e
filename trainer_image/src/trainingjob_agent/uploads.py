"""Brings shards and log files to storage, from threads. Effects: object store.

A save whose shard cannot be brought there is void, and training goes on: nothing in here may end a process. What a save means, and when it
is whole, is the rendezvous' and the log's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trainingjob_agent.answers import Answers
from trainingjob_agent.arena import Lease
from trainingjob_agent.process.output import Console, LifeLog
from trainingjob_agent.settings import Settings
from trainingjob_agent.trouble import Trouble
from trainingjob_api.backoff import Backoff
from trainingjob_api.contract.channel import Snapshot
from trainingjob_api.contract.messages import MemberId, Shard
from trainingjob_api.storage.layout import Label, run_log_key, shard_key, shard_name
from trainingjob_storage.digests import shard_digest
from trainingjob_storage.errors import Refused, StorageError, Unreachable
from trainingjob_storage.fronts import Front, front_of
from trainingjob_storage.store import Store

logger = logging.getLogger(__name__)
RETRY = Backoff(first=0.5, longest=30.0)
"""Between tries of a store that has failed."""
_THREADS = 4
TOLD_TRIES = 3
"""A store that fails so often in a row is more than a moment's trouble."""
T = TypeVar("T")


async def retried(
    what: str, call: Callable[[], T], pool: ThreadPoolExecutor, attempts: int | None, trouble: Trouble, answers: Answers | None = None
) -> T:
    """Call in a thread until the store can be reached; with `attempts` None, for ever. A store that goes on failing is told as trouble,
    and so is one that does not answer, if `answers` watches over it.

    Raises:
        StorageError: trying again is useless, or was so for `attempts` times.
    """
    tries = 0
    while True:
        tries += 1
        try:
            asked = asyncio.get_running_loop().run_in_executor(pool, call)
            found = await (asked if answers is None else answers.to(asked))
        except (Refused, Unreachable) as error:
            ends = isinstance(error, Refused) or tries == attempts
            if ends or tries >= TOLD_TRIES:
                trouble.failed(what, error)
            if ends:
                raise
            delay = RETRY.seconds(tries, random.random())
            logger.warning("%s: %s; trying again in %.1f s", what, error, delay)
            await asyncio.sleep(delay)
        else:
            trouble.worked(what)
            return found


class Uploads:
    """The uploads of one agent."""

    def __init__(self, store: Store, attempts: int, trouble: Trouble, answers: Answers | None = None) -> None:
        self._answers = answers
        self._store = store
        self._attempts = attempts
        self._trouble = trouble
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="upload")

    async def shard(self, lease: Lease, snapshot: Snapshot) -> Shard:
        """Hash a snapshot and bring it to storage. Its buffer is not lent to anybody meanwhile.

        Raises:
            StorageError: it cannot be brought there.
            ValueError: there is no such buffer.
        """
        name = shard_name(snapshot.rank)
        key = shard_key(Label.of(snapshot.save), name)

        def bring() -> tuple[str, Front]:
            view = lease.view(snapshot.buffer, snapshot.length)  # not released by hand: the store's client may look at it a little longer
            digest = shard_digest(view)
            self._store.put(key, view)
            return digest, front_of(view)

        with lease.held(snapshot.buffer):
            digest, front = await retried("a shard", bring, self._pool, self._attempts, self._trouble, self._answers)
        return Shard(
            rank=snapshot.rank,
            name=name,
            bytes=snapshot.length,
            blake3=digest,
            entries=snapshot.entries,
            front_bytes=front.bytes,
            front_blake3=front.blake3,
        )

    async def log(self, member: MemberId, log: LifeLog) -> None:
        """Bring what a life has printed to storage, if it is more than last time. A store that fails is tried again the next time."""

        def bring() -> None:
            data = log.grown()
            if data is not None:
                self._store.put(run_log_key(member), data)
                log.mark_uploaded()

        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, bring)
        except StorageError as error:
            logger.warning("the log of %s stays on this machine for now: %s", member.label(), error)

    def close(self) -> None:
        """Start no more uploads."""
        if self._answers is not None:
            self._answers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


class RunLogs:
    """The log files of all lives of this incarnation, uploaded as they grow and once more when they are whole."""

    def __init__(self, settings: Settings, console: Console, uploads: Uploads | None) -> None:
        """Without `uploads` the files stay in the scratch folder only."""
        self._settings = settings
        self._console = console
        self._uploads = uploads
        self._living: dict[MemberId, LifeLog] = {}
        self._ended: dict[MemberId, LifeLog] = {}
        self._busy = asyncio.Lock()
        self._wanted = asyncio.Event()

    def begin(self, member: MemberId) -> LifeLog:
        """The file of a new life."""
        path = self._settings.log_folder / f"{member.process}.{member.life}.log"
        prefix = f"[{member.worker}/{member.process}.{member.life}] "
        self._living[member] = log = LifeLog(path, prefix, self._console)
        return log

    def end(self, member: MemberId) -> None:
        """A life is over: its file is whole."""
        log = self._living.pop(member)
        log.close()
        self._ended[member] = log
        self._wanted.set()

    async def run(self) -> None:
        """Upload every so often, and soon after the end of a life."""
        while True:
            try:
                async with asyncio.timeout(self._settings.log_seconds):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            await self.upload()

    async def upload(self) -> None:
        """Upload what is new."""
        if self._uploads is None:
            return
        async with self._busy:
            for member, log in [*self._ended.items(), *self._living.items()]:
                await self._uploads.log(member, log)
            for member in [member for member, log in self._ended.items() if log.is_uploaded]:
                del self._ended[member]
