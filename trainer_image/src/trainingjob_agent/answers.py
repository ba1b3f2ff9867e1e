"""Notices a store that does not answer, long before the store's client gives its calls up. Effects: object store, from one thread.

A call that takes long is no sign by itself: a large shard takes minutes. So while one is outstanding, the store is asked for an object
that is not there. Whatever it says to that is an answer. No answer is trouble, until there is one.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from trainingjob_agent.trouble import Trouble
from trainingjob_api.storage.layout import PROBE_PREFIX
from trainingjob_storage.errors import NotFound, Refused, StorageError, Unreachable
from trainingjob_storage.store import Store

QUIET_SECONDS = 30.0
ERRAND = "an answer"
_KEY = f"{PROBE_PREFIX}answers"
T = TypeVar("T")


class Answers:
    """Watches over the calls to one store.

    Args:
        store: the store.
        trouble: where silence is reported.
        quiet_seconds: how long the store may be silent, while it is asked for something, before that is reported.
    """

    def __init__(self, store: Store, trouble: Trouble, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._store = store
        self._trouble = trouble
        self._quiet = quiet_seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._outstanding: dict[object, float] = {}
        self._answered = 0.0
        self._watcher: asyncio.Task[None] | None = None

    async def to(self, call: asyncio.Future[T]) -> T:
        """Await a call to the store, and watch over it meanwhile. Return what it returns.

        Raises:
            Exception: what the call raises.
        """
        token = object()
        self._outstanding[token] = time.monotonic()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            found = await call
        except StorageError as error:
            if not isinstance(error, Unreachable):
                self._note_answer()
            raise
        finally:
            del self._outstanding[token]
        self._note_answer()
        return found

    def close(self) -> None:
        """Ask nothing more."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        """Ask the store every half of the quiet time while calls are outstanding."""
        while self._outstanding:
            silent_since = max(self._answered, min(self._outstanding.values()))
            if (early := silent_since + self._quiet / 2 - time.monotonic()) > 0:
                await asyncio.sleep(early)
                continue
            asked = asyncio.get_running_loop().run_in_executor(self._pool, self._asks)
            limit = silent_since + self._quiet
            await asyncio.wait({asked}, timeout=max(0.0, limit - time.monotonic()))
            is_silent = not (asked.done() and asked.result()) and self._answered <= silent_since
            if is_silent and time.monotonic() >= limit:
                self._trouble.failed(ERRAND, Unreachable(f"storage has not answered for {self._quiet:g} s"))
            if await asked:  # at the latest, the client's own time limit ends it
                self._note_answer()
            else:
                await asyncio.sleep(self._quiet / 10)

    def _asks(self) -> bool:
        """Whether the store answers."""
        with suppress(NotFound, Refused):
            try:
                self._store.get(_KEY)
            except Unreachable:
                return False
        return True

    def _note_answer(self) -> None:
        self._answered = time.monotonic()
        self._trouble.worked(ERRAND)
