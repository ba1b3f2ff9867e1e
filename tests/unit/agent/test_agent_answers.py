"""A store that does not answer is noticed while its client still waits; a slow one is no trouble."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainingjob_agent.answers import Answers
from trainingjob_agent.trouble import Trouble
from trainingjob_agent.uploads import retried
from trainingjob_storage.errors import NotFound, Refused, Unreachable

QUIET = 0.1
DEADLINE = 20.0


class Store:
    """Takes a shard for as long as it is told to; answers a question or does not."""

    uri = "test://"

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.takes = threading.Event()
        self.asked = threading.Event()
        self.refuses = False
        self.says: Exception = NotFound("nothing there")

    def get(self, key: str) -> bytes:
        assert key.startswith("probe/")
        self.asked.set()
        assert self.answers.wait(DEADLINE)
        raise self.says

    def put(self) -> str:
        assert self.takes.wait(DEADLINE)
        if self.refuses:
            raise Refused("forbidden")
        return "stored"


class Scene:
    def __init__(self) -> None:
        self.store, self.trouble = Store(), Trouble()
        self.said: list[str] = []
        self.news = asyncio.Event()
        self.trouble.listen(self._hear)
        self.answers = Answers(self.store, self.trouble, QUIET)  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(1)
        self.upload = asyncio.create_task(retried("a shard", self.store.put, self.pool, None, self.trouble, self.answers))

    def _hear(self) -> None:
        self.said.append(self.trouble.text)
        self.news.set()

    async def says(self, text: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.trouble.text != text:
                await self.news.wait()
                self.news.clear()

    async def asked(self) -> None:
        assert await asyncio.to_thread(self.store.asked.wait, DEADLINE)
        self.store.asked.clear()

    async def stored(self) -> None:
        self.store.takes.set()
        async with asyncio.timeout(DEADLINE):
            assert await self.upload == "stored"


@pytest.fixture
async def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.store.answers.set()
    made.store.takes.set()
    await asyncio.wait({made.upload})
    made.answers.close()
    made.pool.shutdown()


@pytest.mark.parametrize("word", [NotFound("nothing"), Refused("forbidden")], ids=["absent", "refused"])
async def test_an_upload_that_takes_long_is_no_trouble_while_the_store_answers(scene: Scene, word: Exception) -> None:
    scene.store.says = word
    scene.store.answers.set()
    for _ in range(3):
        await scene.asked()
    await scene.stored()
    assert scene.said == []


async def test_a_store_that_hangs_is_trouble_until_it_answers(scene: Scene) -> None:
    await scene.says("storage has not answered for 0.1 s")
    scene.store.answers.set()
    await scene.says("")
    await scene.stored()
    assert scene.said == ["storage has not answered for 0.1 s", ""]


async def test_a_store_that_cannot_be_reached_is_as_silent_as_one_that_hangs(scene: Scene) -> None:
    scene.store.says = Unreachable("connection refused")
    scene.store.answers.set()
    await scene.says("storage has not answered for 0.1 s")
    scene.store.says = NotFound("nothing")
    await scene.says("")


async def test_a_shard_that_is_stored_after_all_is_an_answer(scene: Scene) -> None:
    await scene.says("storage has not answered for 0.1 s")
    await scene.stored()
    await scene.says("")


async def test_a_refusal_is_an_answer(scene: Scene) -> None:
    await scene.says("storage has not answered for 0.1 s")
    scene.store.refuses = True
    scene.store.takes.set()
    await scene.says("forbidden")
    with pytest.raises(Refused):
        await scene.upload


async def test_nothing_is_asked_of_a_store_of_which_nothing_is_wanted(scene: Scene) -> None:
    scene.answers._quiet = DEADLINE
    await scene.stored()
    assert not scene.store.asked.is_set()
    assert scene.said == []
