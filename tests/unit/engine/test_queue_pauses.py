"""A server that asks to be left alone for a while is."""

from __future__ import annotations

import asyncio
import logging

import pytest

from trainingjob_operator.engine.cluster.api import ApiError, asked_pause
from trainingjob_operator.engine.queue import WorkQueue


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(ApiError(429, "TooManyRequests", "", 7.0), 7.0), (ApiError(500, "InternalError", ""), 0.0), (TimeoutError(), 0.0)],
)
def test_what_an_error_asks_for(error: Exception, seconds: float) -> None:
    assert asked_pause(error) == seconds


async def test_the_next_pass_comes_no_sooner(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    async def handle(key: str) -> float | None:
        asyncio.get_running_loop().call_soon(failed.set)
        raise ApiError(429, "TooManyRequests", "later", 7.0)

    queue: WorkQueue[str] = WorkQueue(handle, expected=(ApiError,), asks=asked_pause)
    with caplog.at_level(logging.WARNING):
        queue.add("a")
        await asyncio.wait_for(failed.wait(), 5)
        await asyncio.sleep(0)
    await queue.close()
    assert "again in 7.0 s: 429 TooManyRequests: later" in caplog.text
