"""The proxy in front of the API server: invisible until a test lets it fail, and then only as the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from integration.api_server import ApiServer
from integration.faults import Asked, Fault
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until

SECONDS = 20.0


class Client:
    """A client on the far side of the proxy, in one namespace."""

    def __init__(self, session: aiohttp.ClientSession, proxy: Proxy, namespace: str) -> None:
        self._session = session
        self.url = f"{proxy.url}/api/v1/namespaces/{namespace}/configmaps"

    async def create(self, name: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        async with self._session.post(self.url, json={"metadata": {"name": name}, **fields}) as response:
            return response.status, await response.json()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Watch]:
        """What happens from now on."""
        async with self._session.get(self.url) as response:
            now = (await response.json())["metadata"]["resourceVersion"]
        async with self._session.get(self.url, params={"watch": "true", "resourceVersion": now}) as response:
            yield Watch(response)


class Watch:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self._content = response.content

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event: type, and object."""
        async with asyncio.timeout(SECONDS):
            event = json.loads(await self._content.readline())
        return event["type"], event["object"]

    async def ends(self) -> bool:
        """It ends as it should, without a further event."""
        async with asyncio.timeout(SECONDS):
            return await self._content.readline() == b""


@pytest.fixture
async def proxy(api_server: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(api_server) as made:
        yield made


@pytest.fixture
async def client(api_server: ApiServer, proxy: Proxy, namespace: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {api_server.token()}"}
    async with aiohttp.ClientSession(headers=headers, read_bufsize=4 << 20) as session:
        yield Client(session, proxy, namespace)


@pytest.fixture
def stored(rest: Rest, namespace: str) -> Any:
    """Whether the API server itself has a ConfigMap of this name."""
    return lambda name: rest("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}").code == 200


async def test_without_faults_it_passes_everything_on_and_remembers_it(proxy: Proxy, client: Client, stored: Any):
    assert (await client.create("one"))[0] == 201
    assert (await client.create("one"))[0] == 409

    assert stored("one")
    assert [(asked.method, asked.status, asked.forwarded) for asked in proxy.requests] == [("POST", 201, True), ("POST", 409, True)]
    assert proxy.count("POST", r"/configmaps$") == 2
    assert proxy.count("GET") == 0


async def test_the_callers_own_authority_counts(proxy: Proxy, api_server: ApiServer, namespace: str):
    headers = {"Authorization": f"Bearer {api_server.token('bob')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        assert (await Client(session, proxy, namespace).create("one"))[0] == 403


async def test_the_nth_request_that_fits_is_answered_in_the_api_servers_place(proxy: Proxy, client: Client, stored: Any):
    fault = proxy.add(Fault("POST", "/configmaps$", nth=2, times=2, status=429, retry_after=7))

    codes = [(await client.create(name))[0] for name in ("one", "two", "three", "four")]

    assert codes == [201, 429, 429, 201]
    assert [stored(name) for name in ("one", "two", "three", "four")] == [True, False, False, True]
    assert (fault.seen, fault.fired) == (4, 2)


@pytest.mark.parametrize("status", [409, 429, 500, 504])
async def test_a_made_up_answer_is_a_status_object(proxy: Proxy, client: Client, status: int):
    proxy.add(Fault(status=status))

    code, body = await client.create("one")

    assert (code, body["kind"], body["code"]) == (status, "Status", status)


async def test_an_answer_is_lost_after_the_write_has_happened(proxy: Proxy, client: Client, stored: Any):
    proxy.add(Fault("POST", status=504, afterwards=True))

    assert (await client.create("one"))[0] == 504

    assert stored("one")


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
async def test_a_connection_breaks_without_an_answer(proxy: Proxy, client: Client, stored: Any, afterwards: bool):
    proxy.add(Fault("POST", drops=True, afterwards=afterwards))

    with pytest.raises(aiohttp.ClientConnectionError):
        await client.create("one")

    assert stored("one") is afterwards
    assert proxy.requests[0].status is None


async def test_a_watch_is_streamed_line_by_line(proxy: Proxy, client: Client):
    async with client.watch() as watch:
        for name in ("one", "two"):
            await client.create(name, data={"long": name * 100_000})
            kind, body = await watch.next()

            assert (kind, body["metadata"]["name"], len(body["data"]["long"])) == ("ADDED", name, 300_000)
        assert proxy.watching() == 1


async def test_all_open_watches_are_cut(proxy: Proxy, client: Client):
    async with client.watch() as first, client.watch() as second:
        await client.create("one")
        await first.next()
        await second.next()

        assert proxy.cut_watches() == 2

        for watch in (first, second):
            with pytest.raises(aiohttp.ClientError):
                await watch.next()
    assert proxy.watching() == 0


async def test_open_watches_are_told_that_they_expired(proxy: Proxy, client: Client):
    async with client.watch() as watch:
        assert proxy.expire_watches() == 1

        kind, body = await watch.next()
        assert (kind, body["code"], body["reason"]) == ("ERROR", 410, "Expired")
        assert await watch.ends()


async def test_a_watch_is_answered_that_it_expired(proxy: Proxy, client: Client):
    fault = proxy.add(Fault("GET", "watch=true", expires=True))

    async with client.watch() as watch:
        assert watch.status == 200
        kind, body = await watch.next()
        assert (kind, body["code"]) == ("ERROR", 410)
        assert await watch.ends()
    async with client.watch() as watch:
        await client.create("one")
        assert (await watch.next())[0] == "ADDED"
    assert fault.fired == 1


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
async def test_a_request_waits_for_the_test(proxy: Proxy, client: Client, stored: Any, afterwards: bool):
    there, go_on = asyncio.Event(), asyncio.Event()

    async def hold(asked: Asked) -> None:
        assert asked.method == "POST"
        there.set()
        await go_on.wait()

    proxy.add(Fault("POST", call=hold, afterwards=afterwards))
    creating = asyncio.create_task(client.create("one"))
    await there.wait()

    assert not creating.done()
    assert stored("one") is afterwards
    go_on.set()
    assert (await creating)[0] == 201


async def test_a_delay_is_at_least_as_long_as_it_says(proxy: Proxy, client: Client):
    proxy.add(Fault("POST", delay=0.2))
    clock = asyncio.get_running_loop()
    began = clock.time()

    await client.create("one")

    assert clock.time() - began >= 0.2


async def test_a_client_that_leaves_takes_its_watch_with_it(proxy: Proxy, client: Client):
    async with client.watch():
        assert proxy.watching() == 1
    await until("the watch is gone", lambda: not proxy.watching())


async def test_what_was_sent_before_the_client_left_is_carried_out(proxy: Proxy, client: Client, stored: Any):
    creating = asyncio.create_task(client.create("one"))
    await until("it is sent", lambda: proxy.requests and proxy.requests[0].forwarded)
    creating.cancel()

    await until("it is there", lambda: stored("one"))


async def test_a_request_whose_client_dies_over_it_never_gets_there_if_it_is_dropped(proxy: Proxy, client: Client, stored: Any):
    creating: list[asyncio.Task[Any]] = []

    async def die(asked: Asked) -> None:
        creating[0].cancel()

    proxy.add(Fault("POST", call=die, drops=True))
    creating.append(asyncio.create_task(client.create("one")))
    with pytest.raises(asyncio.CancelledError):
        await creating[0]

    assert not proxy.requests[0].forwarded
    assert not stored("one")


async def test_an_api_server_that_dies_breaks_the_watches_and_its_absence_breaks_connections(
    proxy: Proxy, client: Client, api_server: ApiServer
):
    async with client.watch() as watch:
        api_server.stop()
        try:
            with pytest.raises(aiohttp.ClientError):
                await watch.next()
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.create("one")
        finally:
            api_server.start()
    assert (await client.create("two"))[0] == 201
