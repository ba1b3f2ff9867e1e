"""The work queue: one pass in flight per key, duplicates folded, requeue after, backoff."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from trainingjob_operator.engine.queue import WorkQueue


class Handler:
    """Records its calls; waits at the gate in each of them."""

    def __init__(self, answers: list[float | Exception | None]) -> None:
        self.answers, self.calls, self.in_flight, self.most = answers, [], 0, 0
        self.gate, self.entered, self.idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.calls: list[str] = []

    async def __call__(self, key: str) -> float | None:
        self.calls.append(key)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.entered.set()
        await self.gate.wait()
        self.in_flight -= 1
        answer = self.answers.pop(0) if self.answers else None
        if not self.answers:
            self.idle.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running(handler: Handler, **options: int) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(handler, chance=lambda: 0.0, **options)
    try:
        yield queue
    finally:
        await queue.close()


async def test_duplicates_before_a_pass_are_folded() -> None:
    handler = Handler([None])
    handler.gate.set()
    async with running(handler) as queue:
        for _ in range(5):
            queue.add("a")
        await asyncio.wait_for(handler.idle.wait(), 5)
        await asyncio.sleep(0)
    assert handler.calls == ["a"]


async def test_what_is_added_during_a_pass_makes_one_more_and_never_two_at_once() -> None:
    handler = Handler([None, None])
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.wait_for(handler.entered.wait(), 5)
        queue.add("a")
        queue.add("a")
        handler.gate.set()
        await asyncio.wait_for(handler.idle.wait(), 5)
        await asyncio.sleep(0)
    assert (handler.calls, handler.most) == (["a", "a"], 1)


async def test_keys_do_not_wait_for_each_other() -> None:
    handler = Handler([None, None])
    async with running(handler) as queue:
        queue.add("a")
        queue.add("b")
        await asyncio.wait_for(handler.entered.wait(), 5)
        await asyncio.sleep(0)
        assert handler.most == 2
        handler.gate.set()
        await asyncio.wait_for(handler.idle.wait(), 5)


async def test_a_pass_asks_for_the_next_one() -> None:
    handler = Handler([0.0, 0.01, None])
    handler.gate.set()
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.wait_for(handler.idle.wait(), 5)
    assert handler.calls == ["a"] * 3


async def test_an_error_is_told_with_the_jobs_name_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler([RuntimeError("the API server is away"), None])
    handler.gate.set()
    with caplog.at_level(logging.ERROR):
        async with running(handler) as queue:
            queue.add("team/digits")
            await asyncio.wait_for(handler.idle.wait(), 5)
    assert handler.calls == ["team/digits"] * 2
    assert "team/digits" in caplog.text
    assert "the API server is away" in caplog.text


async def test_a_forgotten_key_is_not_called_again() -> None:
    handler = Handler([])
    handler.gate.set()
    async with running(handler) as queue:
        queue.add_after("a", 0.01)
        queue.forget("a")
        queue.add_after("b", 0.02)
        await asyncio.wait_for(handler.entered.wait(), 5)
    assert handler.calls == ["b"]


async def test_of_two_times_the_earlier_counts() -> None:
    handler = Handler([])
    handler.gate.set()
    async with running(handler) as queue:
        queue.add_after("a", 0.01)
        queue.add_after("a", 3600)
        await asyncio.wait_for(handler.entered.wait(), 5)
    assert handler.calls == ["a"]
