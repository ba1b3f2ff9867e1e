"""Waiting for a condition in an async test, while everything else on the loop goes on. For a plain test there is `local_job.until`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

POLL_SECONDS = 0.02

Found = TypeVar("Found")


async def until(what: str, look: Callable[[], Found | Awaitable[Found]], seconds: float = 60.0) -> Found:
    """The first true answer of `look`; fails with what it saw last when there is none in time."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + seconds
    while True:
        seen = look()
        found: Found = await seen if isawaitable(seen) else seen
        if found:
            return found
        assert clock.time() < deadline, f"not within {seconds} s: {what}; seen last: {found!r}"
        await asyncio.sleep(POLL_SECONDS)
