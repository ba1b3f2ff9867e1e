"""The process groups' store: one space of keys a generation, in memory, gone with its generation.

Only asyncio; it knows nothing of connections. Nobody outside an agent's authenticated connection reaches it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii

from trainingjob_api.contract.messages import StoreReply, StoreRequest

MOST_KEYS = 65_536
MOST_BYTES = 64 << 20
LONGEST_KEY = 1024
LONGEST_WAIT_SECONDS = 600.0


class StoreError(Exception):
    """The request has no answer but this word."""


class _Space:
    """The keys of one generation, and who waits for which."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.bytes = 0
        self.waiting: dict[str, list[asyncio.Future[None]]] = {}

    def put(self, key: str, value: bytes) -> None:
        old = self.values.get(key)
        size = self.bytes + len(value) - len(old or b"") + (len(key) if old is None else 0)
        if len(key) > LONGEST_KEY or size > MOST_BYTES or (old is None and len(self.values) >= MOST_KEYS):
            raise StoreError("full")
        self.values[key], self.bytes = value, size
        for future in self.waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def drop(self, key: str) -> bool:
        value = self.values.pop(key, None)
        if value is not None:
            self.bytes -= len(value) + len(key)
        return value is not None

    async def until(self, key: str) -> None:
        while key not in self.values:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.setdefault(key, []).append(future)
            try:
                await future
            finally:
                self._forget(key, future)

    def _forget(self, key: str, future: asyncio.Future[None]) -> None:
        waiting = self.waiting.get(key)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self.waiting[key]

    def close(self) -> None:
        for futures in self.waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(StoreError("over"))
        self.waiting.clear()
        self.values.clear()


class Store:
    """Answers StoreRequests of the generations that are open."""

    def __init__(self) -> None:
        self._spaces: dict[str, _Space] = {}

    def keep_only(self, label: str | None) -> None:
        """Open the space of this generation if it is new, and close every other: who waits there is told that it is over."""
        for other in [other for other in self._spaces if other != label]:
            self._spaces.pop(other).close()
        if label is not None and label not in self._spaces:
            self._spaces[label] = _Space()

    async def answer(self, request: StoreRequest) -> StoreReply:
        """Carry out a request; get and wait may take until its time-out. Never raises but when cancelled."""
        try:
            space = self._spaces.get(request.prefix)
            if space is None:
                raise StoreError("over")
            if not request.keys:
                raise StoreError("no key")
            limit = min(max(0.0, request.timeout_seconds), LONGEST_WAIT_SECONDS)
            async with asyncio.timeout(limit if request.operation in ("get", "wait") else None):
                return StoreReply(id=request.id, value=await _carry_out(space, request))
        except TimeoutError:
            return StoreReply(id=request.id, error="timeout")
        except StoreError as error:
            return StoreReply(id=request.id, error=str(error))


async def _carry_out(space: _Space, request: StoreRequest) -> str:
    key = request.keys[0]
    match request.operation:
        case "set":
            space.put(key, _decode(request.value))
        case "add":
            total = _number(space.values.get(key, b"0")) + _number(request.value.encode())
            space.put(key, str(total).encode())
            return str(total)
        case "check":
            return str(int(all(name in space.values for name in request.keys)))
        case "delete":
            dropped = [space.drop(name) for name in request.keys]
            return str(int(all(dropped)))
        case "get" | "wait":
            for name in request.keys:
                await space.until(name)
            return base64.b64encode(space.values[key]).decode() if request.operation == "get" else ""
        case "compare_set":
            return base64.b64encode(_compare_set(space, key, request.value)).decode()
    return ""


def _compare_set(space: _Space, key: str, value: str) -> bytes:
    """As torch's TCPStore does it: an absent key is set only if nothing is expected. Returns what is there afterwards."""
    expected, _, desired = value.partition(" ") if " " in value else ("", "", value)
    wanted, present = _decode(expected), space.values.get(key)
    if present is None and wanted:
        return wanted
    if present is None or present == wanted:
        space.put(key, _decode(desired))
    return space.values[key]


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise StoreError("not base64") from None


def _number(text: bytes) -> int:
    try:
        return int(text[:32])
    except ValueError:
        raise StoreError("not a number") from None
