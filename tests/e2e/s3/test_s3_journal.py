"""A job's life on a real S3 server."""

import threading

import pytest

from storage_fakes import shard_bytes, write_shards
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_api.storage.layout import Label
from trainingjob_storage.errors import AttemptTaken, OwnedByAnother
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store


class Memfds:
    """Keeps what it is given, as an agent does."""

    def begin(self, manifest):
        self.manifest, self.shards = manifest, {}

    def shard(self, name, data):
        self.shards[name] = data


@pytest.fixture
def store(bucket):
    return open_store(f"s3://{bucket.name}/jobs/digits", bucket.endpoint, None, bucket.environ)


def journal(store, uid="u1"):
    return Journal(store, uid, f"default/{uid}", "build", False, lambda: 1.0)


def test_a_job_saves_loses_a_checkpoint_rolls_back_and_finishes(store, server, bucket):
    first, second, third = (GenerationId(attempt, 1, 1) for attempt in (1, 2, 3))
    writer = journal(store)
    writer.open_attempt(first, Restore())
    for step in (10, 20, 30, 40):
        writer.commit(write_shards(store, first, step), 1)
    assert writer.apply_retention(Authority(1, 1), 3) == ["00000010-a1e1n1"]

    harmed = "jobs/digits/saves/00000040-a1e1n1/00001.safetensors"
    server.client().put_object(Bucket=bucket.name, Key=harmed, Body=b"torn")
    memory = Memfds()
    opening = journal(store).restore(second, Restore(), memory)
    assert (opening.step, opening.position.quarantined) == (30, (40,))
    assert memory.shards["00001.safetensors"] == shard_bytes(30, 1, 2, first)

    heir = journal(store)
    assert heir.open_attempt(third, Restore(kind="Step", step=20, request="r")).step == 20
    with pytest.raises(OwnedByAnother, match="default/u1"):
        journal(store, "u2").open_attempt(third, Restore())
    heir.export(Authority(3, 1), Label(20, third.label()), b"model", "{}")
    position = heir.done(Authority(3, 1), 20, {"accuracy": 0.9})
    assert (position.done, position.checkpoints) == (True, (20,))
    assert position.exported == f"s3://{bucket.name}/jobs/digits/export/00000020-a3e1n1/"
    assert journal(store).position().model_copy(update={"opened_attempt": 3, "restored_step": 20, "request": "r"}) == position


def test_of_eight_agents_that_open_an_attempt_at_once_one_does(store):
    opened, taken = [], []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        agent = journal(store)
        start.wait()
        try:
            agent.open_attempt(GenerationId(1, 1, number), Restore())
            opened.append(number)
        except AttemptTaken:
            taken.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(opened), len(taken)) == (1, 7)
    assert len(store.list("log/")) == 2
