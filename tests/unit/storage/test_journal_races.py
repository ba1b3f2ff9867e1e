"""Races of real threads on a real folder."""

import threading

import pytest

from storage_fakes import write_shards
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_storage.errors import AttemptTaken
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}", None, None, {})


def journal(store):
    return Journal(store, "u1", "default/digits", "build", False, lambda: 1.0)


def together(count, work):
    start = threading.Barrier(count)

    def body(number):
        start.wait()
        work(number)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_eight_agents_that_open_an_attempt_at_once_one_does(store):
    opened, taken = [], []

    def race(number):
        try:
            journal(store).open_attempt(GenerationId(1, 1, number), Restore())
            opened.append(number)
        except AttemptTaken:
            taken.append(number)

    together(8, race)
    assert (len(opened), len(taken)) == (1, 7)
    assert store.list("log/") == ["log/00000000.json", "log/00000001.json"]


def test_agents_that_commit_the_same_saves_at_once_append_each_once(store):
    generation = GenerationId(1, 1, 1)
    shared = journal(store)
    shared.open_attempt(generation, Restore())
    commits = [write_shards(store, generation, step) for step in range(10, 110, 10)]

    def commit(number):
        # Half of them share a journal, as threads of one agent do.
        writer = shared if number % 2 else journal(store)
        for one in commits[number:] + commits[:number]:
            writer.commit(one, 1)

    together(6, commit)
    assert shared.position().checkpoints == tuple(range(10, 110, 10))
    assert len(store.list("log/")) == 12
