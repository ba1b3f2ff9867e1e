"""What can befall a request on its way to the API server, and which one it befalls. Pure but for the waits that a test asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

EXPIRED = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": "Expired",
        "code": 410,
        "message": "too old resource version",
    },
}
"""What a watch is told when its place in history is forgotten."""
REASONS = {403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 504: "Timeout"}


class Dropped(Exception):
    """The connection is to break without an answer."""


@dataclass
class Asked:
    """One request that came to the proxy."""

    method: str
    path: str
    """The path, and the query after a question mark."""
    watches: bool
    status: int | None = None
    """How the client was answered; None: not yet, or by a broken connection."""
    forwarded: bool = False
    """It was sent to the API server."""


@dataclass
class Fault:
    """What befalls the n-th request that fits, and the `times - 1` after it that do."""

    method: str = ".*"
    """An expression for the whole method."""
    path: str = ""
    """An expression that is found in path and query."""
    nth: int = 1
    times: int = 1
    afterwards: bool = False
    """All this happens when the API server has carried out the request, and its answer is lost. Not for watches."""
    call: Callable[[Asked], Awaitable[None]] | None = None
    """Awaited first: the request waits for it. One that kills the client should say `drops` too, or the request may still be sent."""
    delay: float = 0.0
    """Seconds."""
    status: int | None = None
    """The answer instead of the API server's."""
    retry_after: int | None = None
    """Seconds, in the answer's Retry-After."""
    drops: bool = False
    """The connection breaks without an answer."""
    expires: bool = False
    """A watch is told 410 in its stream, and ends."""
    seen: int = field(default=0, init=False)
    """Requests that fitted."""
    fired: int = field(default=0, init=False)
    """Requests that it befell: a test of a fault asserts this too."""

    def takes(self, asked: Asked) -> bool:
        """Count a request; True: it is one that this befalls."""
        if not re.fullmatch(self.method, asked.method) or not re.search(self.path, asked.path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    async def befall(self, asked: Asked) -> Answered | None:
        """Let it happen.

        Returns:
            The answer to give, or None where the request takes its course.

        Raises:
            Dropped: when the connection is to break.
        """
        self.fired += 1
        if self.call is not None:
            await self.call(asked)
        await asyncio.sleep(self.delay)
        if self.drops:
            raise Dropped
        if self.expires:
            return Answered(200, EXPIRED)
        if self.status is None:
            return None
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Answered(self.status, failure(self.status, self.retry_after), headers)


@dataclass(frozen=True)
class Answered:
    """An answer that is not the API server's."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def line(self) -> bytes:
        """The body, as a stream has it."""
        return json.dumps(self.body).encode() + b"\n"


def failure(code: int, retry_after: int | None = None) -> dict[str, Any]:
    """The Status object that an API server answers with."""
    details = {} if retry_after is None else {"details": {"retryAfterSeconds": retry_after}}
    return details | {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": REASONS.get(code, "Unknown"),
        "code": code,
        "message": "made up by a test",
    }
