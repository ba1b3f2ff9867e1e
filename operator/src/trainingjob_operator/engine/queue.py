"""A keyed work queue on the event loop: one pass in flight per key, duplicates folded, requeue after, backoff. Effect.

It knows nothing of resources: it calls `handle` for a key until that is content. This is one of the operator's two outermost
loops: an error of a pass is logged with its traceback and the key's name, and the pass is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from trainingjob_api.backoff import Backoff

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

RETRY = Backoff(first=0.2, longest=60.0, high=1.0)


class WorkQueue(Generic[Key]):
    """Calls `handle(key)` for every key added; what it returns is the number of seconds until the next call, or None."""

    def __init__(
        self,
        handle: Callable[[Key], Awaitable[float | None]],
        *,
        concurrency: int = 16,
        expected: tuple[type[Exception], ...] = (),
        asks: Callable[[Exception], float] = lambda error: 0.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Errors that are `expected` now and then are logged in one line, without a traceback.

        `asks` says for how many seconds at least such an error asks not to be asked again.
        """
        self._handle = handle
        self._expected = expected
        self._asks = asks
        self._slots = asyncio.Semaphore(concurrency)
        self._chance = chance
        self._waiting: set[Key] = set()
        self._again: set[Key] = set()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._closed = False

    def add(self, key: Key) -> None:
        """Ask for a pass now. During a pass of the same key: for one more right after it."""
        self._drop_timer(key)
        if self._closed or key in self._waiting:
            return
        if key in self._tasks:
            self._again.add(key)
            return
        self._waiting.add(key)
        self._tasks[key] = asyncio.get_running_loop().create_task(self._pass(key))

    def add_after(self, key: Key, seconds: float) -> None:
        """Ask for a pass in `seconds`, or at the time asked for before if that is earlier."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        self._drop_timer(key)
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def forget(self, key: Key) -> None:
        """The key is gone for good: no timer and no failures of it are kept."""
        self._drop_timer(key)
        self._failures.pop(key, None)
        self._again.discard(key)

    async def close(self) -> None:
        """Take nothing more, cancel what is in flight and wait for its end."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def _pass(self, key: Key) -> None:
        try:
            async with self._slots:
                self._waiting.discard(key)
                after = await self._guarded(key)
        finally:
            self._waiting.discard(key)
            del self._tasks[key]
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif after is not None:
            self.add_after(key, after)

    async def _guarded(self, key: Key) -> float | None:
        try:
            after = await self._handle(key)
        except self._expected as error:
            after = max(self._failed(key), self._asks(error))
            logger.warning("%s: the pass ended early, again in %.1f s: %s", key, after, error or type(error).__name__)
        except Exception:  # the outermost loop: the trouble of one key must not stop the others
            after = self._failed(key)
            logger.exception("%s: the pass failed (%d in a row); again in %.1f s", key, self._failures[key], after)
        else:
            self._failures.pop(key, None)
        return after

    def _failed(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return RETRY.seconds(failures, self._chance())
