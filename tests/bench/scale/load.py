"""Loads: jobs made at once or one after another, and pods waited for, by a client that costs the machine little. Effects."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp

from bench.scale.operators import Subject
from bench.scale.world import World
from integration.credentials import ADMIN
from integration.rest import MERGE
from trainingjob_operator.engine.cluster.api import lines

CALLS = 32
"""Requests under way at a time."""
WAIT_SECONDS = 600.0


class Client:
    """A user of the API server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, context: ssl.SSLContext) -> None:
        self._session = session
        self._url = url
        self._context = context
        self._calls = asyncio.Semaphore(CALLS)

    async def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> dict[str, Any]:
        """One request that must be granted; the object that answers it."""
        async with self._calls:
            data = None if body is None else json.dumps(body)
            async with self._session.request(
                method, self._url + path, data=data, headers={"Content-Type": kind}, ssl=self._context
            ) as answer:
                text = await answer.text()
                assert answer.status < 300, f"{method} {path}: {text}"
                found: dict[str, Any] = json.loads(text)
        return found

    async def running(self, namespace: str, selector: str, count: int) -> float:
        """Wait until so many pods have run; when that was, in seconds of time.monotonic()."""
        path = f"/api/v1/namespaces/{namespace}/pods?"
        query = {"labelSelector": selector, "fieldSelector": "status.phase=Running"}
        seen: set[str] = set()
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                listed = await self.call("GET", path + urlencode(query))
                seen |= {item["metadata"]["name"] for item in listed["items"]}
                watch = query | {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
                if len(seen) >= count or await self._watched(path + urlencode(watch), seen, count):
                    break
        return time.monotonic()

    async def _watched(self, path: str, seen: set[str], count: int) -> bool:
        """Note the names of what comes, until there are so many (True), or the server ends the watch."""
        async with self._session.get(self._url + path, ssl=self._context) as stream:
            assert stream.status == 200, await stream.text()
            async for line in lines(stream.content):
                event = json.loads(line)
                if event["type"] == "ADDED":
                    seen.add(event["object"]["metadata"]["name"])
                if len(seen) >= count:
                    return True
        return False


@asynccontextmanager
async def client(world: World, user: str = ADMIN) -> AsyncIterator[Client]:
    """A client, as this user."""
    headers = {"Authorization": f"Bearer {world.api.token(user)}", "Accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=2 * CALLS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        yield Client(session, world.api.url, world.api.context)


async def burst(world: World, subject: Subject, namespace: str, jobs: int, workers: int) -> float:
    """Make so many jobs as fast as they are taken; seconds from the first request until all their pods that train run."""
    async with client(world) as user, asyncio.TaskGroup() as group:
        began = time.monotonic()
        all_run = group.create_task(user.running(namespace, subject.selector, jobs * workers))
        for number in range(jobs):
            group.create_task(user.call("POST", subject.path(namespace), subject.job(f"job-{number}", workers)))
    return all_run.result() - began


async def paced(per_second: float, calls: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Begin one call after another, in even steps, whether or not the earlier ones have been answered."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(calls):
            await asyncio.sleep(max(0.0, began + number / per_second - loop.time()))
            group.create_task(_one(call))


async def failures(user: Client, subject: Subject, pods: Iterable[tuple[str, str]], per_second: float) -> None:
    """Have these pods (namespace, name) end, as a kubelet would say it."""

    def fails(namespace: str, name: str) -> Callable[[], Awaitable[Any]]:
        return lambda: user.call("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}/status", subject.failed(), MERGE)

    await paced(per_second, [fails(*pod) for pod in pods])


async def _one(call: Callable[[], Awaitable[Any]]) -> None:
    await call()
