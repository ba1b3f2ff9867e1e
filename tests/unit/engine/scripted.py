"""An API server of a few lines that says what a test has written down, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

Line = dict[str, Any] | Exception


class Scripted:
    """Stands in for `trainingjob_operator.engine.cluster.api.Api`."""

    def __init__(self) -> None:
        self.answers: list[Line | Callable[[], Line]] = []
        """For calls, in their order."""
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []
        """(method, path, query) of all."""
        self.bodies: list[Any] = []
        self._lines: asyncio.Queue[Line | None] = asyncio.Queue()

    async def call(self, method: str, path: str, *, query: str = "", body: object = None, **_: Any) -> dict[str, Any]:
        """The next answer."""
        self.asked.append((method, path, parse_qs(query)))
        self.bodies.append(body)
        assert self.answers, f"nobody expects {method} {path}"
        answer = self.answers.pop(0)
        answer = answer() if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(self, path: str, query: str, accept: str = "", *, opened: Callable[[], None]) -> AsyncIterator[dict[str, Any]]:
        """What `tell` is told, until `end` or an error."""
        self.asked.append(("WATCH", path, parse_qs(query)))
        opened()
        while True:
            line = await self._lines.get()
            try:
                if line is None:
                    return
                if isinstance(line, Exception):
                    raise line
                yield line
            finally:
                self._lines.task_done()

    async def tell(self, *lines: Line) -> None:
        """The watch says this; returns when it has been taken in."""
        for line in lines:
            self._lines.put_nowait(line)
        await asyncio.wait_for(self._lines.join(), 5)

    def end(self) -> None:
        """The watch ends in order."""
        self._lines.put_nowait(None)

    def watches(self) -> list[str]:
        """The versions that watches began from."""
        return [query["resourceVersion"][0] for method, _, query in self.asked if method == "WATCH"]

    def lists(self) -> int:
        """How many lists were asked for."""
        return sum(1 for method, _, _ in self.asked if method == "GET")


def thing(name: str, version: int, value: str = "", uid: str = "") -> dict[str, Any]:
    """An object."""
    metadata = {"namespace": "team", "name": name, "resourceVersion": str(version), "uid": uid or f"uid-{name}"}
    return {"metadata": metadata, "value": value}


def page(version: int, *items: dict[str, Any], following: str = "") -> dict[str, Any]:
    """A list, or a part of it."""
    return {"metadata": {"resourceVersion": str(version), "continue": following}, "items": list(items)}


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """A line of a watch."""
    return {"type": kind, "object": item}


def bookmark(version: int) -> dict[str, Any]:
    """The watch is there, and nothing has happened."""
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def error(code: int, reason: str = "Expired") -> dict[str, Any]:
    """The watch is over."""
    return event("ERROR", {"code": code, "reason": reason, "message": "made up by a test"})
