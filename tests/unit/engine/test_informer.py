"""The informer: a copy that follows, misses no deletion, reads its own writes, and never raises the dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from trainingjob_api.backoff import Backoff
from trainingjob_operator.engine.cluster import informer as module
from trainingjob_operator.engine.cluster.api import ApiError
from trainingjob_operator.engine.cluster.informer import Informer
from trainingjob_operator.engine.resources import PODS
from unit.engine.scripted import Scripted, bookmark, error, event, page, thing


class Copy:
    """An informer of what things are worth, and the changes that it told of."""

    def __init__(self, api: Scripted) -> None:
        self.api = api
        self.changes: list[tuple[str | None, str | None]] = []
        self.informer: Informer[str] = Informer(api, PODS, lambda item: item["value"], self._changed, selector="l")  # type: ignore[arg-type]

    def _changed(self, old: str | None, new: str | None) -> None:
        self.changes.append((old, new))

    def values(self) -> dict[str, str]:
        return {name: entry.value for (_, name), entry in self.informer._entries.items()}

    def has_watched(self, times: int) -> bool:
        return len(self.api.watches()) >= times

    async def until(self, look: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not look():
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", Backoff(0.0, 0.0))


@asynccontextmanager
async def following(*first: dict[str, Any]) -> AsyncIterator[Copy]:
    """A copy that has begun with these pages."""
    copy = Copy(Scripted())
    copy.api.answers += first
    task = asyncio.create_task(copy.informer.run())
    try:
        await copy.until(copy.informer.synced.is_set)
        yield copy
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_begins_with_a_list_in_pages_and_follows() -> None:
    async with following(page(10, thing("a", 3, "A"), following="more"), page(10, thing("b", 4, "B"))) as copy:
        await copy.api.tell(event("ADDED", thing("c", 11, "C")), event("MODIFIED", thing("a", 12, "A2")), event("DELETED", thing("b", 13)))
        assert copy.values() == {"a": "A2", "c": "C"}
        assert copy.changes == [(None, "A"), (None, "B"), (None, "C"), ("A", "A2"), ("B", None)]
    assert [query.get("continue") for method, _, query in copy.api.asked if method == "GET"] == [None, ["more"]]
    assert copy.api.watches() == ["10"]
    assert all(query["labelSelector"] == ["l"] for _, _, query in copy.api.asked)


async def test_what_is_not_kept_makes_no_change() -> None:
    async with following(page(1, thing("a", 1, "A"))) as copy:
        await copy.api.tell(event("MODIFIED", thing("a", 2, "A")))
        assert copy.changes == [(None, "A")]


async def test_a_watch_that_ends_or_breaks_goes_on_where_it_was() -> None:
    async with following(page(1)) as copy:
        await copy.api.tell(bookmark(5))
        copy.api.end()
        await copy.until(lambda: copy.api.watches() == ["1", "5"])
        await copy.api.tell(event("ADDED", thing("a", 7, "A")))
        await copy.api.tell(aiohttp.ClientPayloadError("cut"))
        await copy.until(lambda: copy.api.watches() == ["1", "5", "7"])
        await copy.api.tell(error(500, "InternalError"))
        await copy.until(lambda: len(copy.api.watches()) == 4)
        assert copy.api.lists() == 1
        assert copy.values() == {"a": "A"}


async def test_a_forgotten_place_means_a_new_list_and_missed_deletions_are_told() -> None:
    async with following(page(5, thing("a", 3, "A"), thing("b", 4, "B"))) as copy:
        copy.api.answers.append(page(20, thing("b", 15, "B2"), thing("c", 16, "C")))
        await copy.api.tell(error(410))
        await copy.until(lambda: copy.api.watches() == ["5", "20"])
        assert copy.values() == {"b": "B2", "c": "C"}
        assert copy.changes[2:] == [("B", "B2"), (None, "C"), ("A", None)]


async def test_a_list_that_expires_between_its_pages_begins_again() -> None:
    async with following(page(5)) as copy:
        copy.api.answers += [page(9, thing("a", 7, "A"), following="more"), ApiError(410, "Expired", ""), page(12, thing("b", 11, "B"))]
        await copy.api.tell(error(410))
        await copy.until(lambda: copy.api.watches() == ["5", "12"])
        assert copy.values() == {"b": "B"}


async def test_another_object_under_the_same_name_is_told_as_a_loss_and_a_find() -> None:
    async with following(page(5, thing("a", 3, "A"))) as copy:
        copy.api.answers.append(page(20, thing("a", 15, "A", uid="another")))
        await copy.api.tell(error(410))
        await copy.until(lambda: len(copy.api.watches()) == 2)
        assert copy.changes == [(None, "A"), ("A", None), (None, "A")]


async def test_its_own_writes_are_seen_at_once_and_older_news_changes_nothing() -> None:
    async with following(page(5)) as copy:
        copy.informer.put(thing("a", 9, "written"))
        assert copy.values() == {"a": "written"}
        await copy.api.tell(event("ADDED", thing("a", 8, "older")), event("MODIFIED", thing("a", 9, "written")))
        assert copy.changes == [(None, "written")]


async def test_an_answer_after_the_news_of_the_deletion_does_not_raise_the_dead() -> None:
    async with following(page(5)) as copy:
        await copy.api.tell(event("ADDED", thing("a", 6, "A")), event("DELETED", thing("a", 8)))
        copy.informer.put(thing("a", 6, "A"))
        copy.informer.put(thing("a", 7, "A2"))
        assert copy.values() == {}
        assert copy.changes == [(None, "A"), ("A", None)]


async def test_a_list_from_before_a_write_does_not_drop_it() -> None:
    async with following(page(5)) as copy:

        def written_meanwhile() -> dict[str, Any]:
            copy.informer.put(thing("new", 12, "new"))
            return page(10, thing("old", 8, "old"))

        copy.api.answers.append(written_meanwhile)
        await copy.api.tell(error(410))
        await copy.until(lambda: len(copy.api.watches()) == 2)
        assert copy.values() == {"new": "new", "old": "old"}
        copy.api.answers.append(page(30, thing("old", 8, "old")))
        await copy.api.tell(error(410))
        await copy.until(lambda: len(copy.api.watches()) == 3)
        assert copy.values() == {"old": "old"}


async def test_the_end_of_a_former_object_does_not_end_the_present_one() -> None:
    async with following(page(5, thing("a", 3, "A"))) as copy:
        copy.informer.put(thing("a", 9, "A2", uid="another"))
        await copy.api.tell(event("DELETED", thing("a", 8)))
        assert copy.values() == {"a": "A2"}


async def test_failures_in_a_row_are_counted_and_an_open_watch_begins_a_new_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    class Counted(Backoff):
        def base(self, failures: int) -> float:
            rows.append(failures - 1)
            return 0.0

    monkeypatch.setattr(module, "PAUSE", Counted(0.0, 0.0))
    async with following(ApiError(500, "InternalError", ""), OSError("away"), TimeoutError(), page(1)) as copy:  # type: ignore[arg-type]
        for _ in range(3):
            watches = len(copy.api.watches())
            await copy.api.tell(aiohttp.ClientPayloadError("cut"))
            await copy.until(partial(copy.has_watched, watches + 1))
        copy.api.end()
        await copy.until(lambda: len(copy.api.watches()) == 5)
    assert rows == [1, 2, 3, 1, 1, 1, 0]
