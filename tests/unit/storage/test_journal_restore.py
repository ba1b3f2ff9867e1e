"""Restoring skips what is damaged, and retention deletes only what is given up."""

import pytest

from storage_fakes import DiedError, MemoryStore, Watched, dying, nothing, shard_bytes, write_shards
from trainingjob_api.contract.messages import GenerationId, Restore
from trainingjob_api.storage.entries import Authority
from trainingjob_storage.errors import Unreachable
from trainingjob_storage.journal import Journal

FIRST = GenerationId(1, 1, 1)
SECOND = GenerationId(2, 1, 1)
BY = Authority(1, 1)


def journal(store):
    return Journal(store, "u1", "default/digits", "build-1", False, lambda: 0.0)


class Memfds:
    """Keeps what it is given, as an agent does."""

    def __init__(self):
        self.manifest = None
        self.shards = {}

    def begin(self, manifest):
        self.manifest, self.shards = manifest, {}

    def shard(self, name, data):
        self.shards[name] = data


@pytest.fixture
def store():
    store = MemoryStore()
    writer = journal(store)
    writer.open_attempt(FIRST, Restore())
    for step in (10, 20, 30):
        writer.commit(write_shards(store, FIRST, step), 1)
    return store


def folder(step):
    return f"saves/{step:08d}-a1e1n1/"


def flip(data):
    return bytes([data[0] ^ 1]) + data[1:]


DAMAGES = {
    "flipped shard": ("00001.safetensors", flip),
    "torn shard": ("00000.safetensors", lambda data: data[:-1]),
    "missing shard": ("00001.safetensors", lambda data: None),
    "flipped manifest": ("manifest.json", lambda data: data.replace(b"d30", b"d31")),
    "torn manifest": ("manifest.json", lambda data: data[: len(data) // 2]),
    "missing manifest": ("manifest.json", lambda data: None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_quarantined_and_the_one_before_restored(store, damage):
    name, harm = DAMAGES[damage]
    data = harm(store.objects.pop(folder(30) + name))
    if data is not None:
        store.put(folder(30) + name, data)
    memory = Memfds()
    opening = journal(store).restore(SECOND, Restore(), memory)
    assert opening.step == 20
    assert memory.manifest == opening.manifest
    assert memory.shards == {f"{rank:05d}.safetensors": shard_bytes(20, rank, 2, FIRST) for rank in range(2)}
    assert opening.position.quarantined == (30,)
    assert opening.position.checkpoints == (10, 20)


def test_with_all_damaged_it_starts_fresh(store):
    for step in (10, 20, 30):
        store.put(folder(step) + "00000.safetensors", b"x")
    opening = journal(store).restore(SECOND, Restore(), Memfds())
    assert (opening.step, opening.position.quarantined) == (None, (30, 20, 10))


def test_a_bit_flipped_on_the_way_is_read_again(store):
    original = store.get
    flipped = []

    def get(key):
        data = original(key)
        if key.endswith("00000.safetensors") and not flipped:
            flipped.append(key)
            return flip(data)
        return data

    store.get = get
    assert journal(store).restore(SECOND, Restore(), Memfds()).step == 30
    assert flipped


def test_a_store_that_fails_quarantines_nothing(store):
    def down(operation, key):
        if operation == "get" and key.startswith("saves/"):
            raise Unreachable(key)

    writer = journal(Watched(store, down, nothing))
    with pytest.raises(Unreachable):
        writer.restore(SECOND, Restore(), Memfds())
    assert journal(store).position().quarantined == ()


def test_retention_deletes_what_is_dropped(store):
    writer = journal(store)
    writer.commit(write_shards(store, FIRST, 40), 1)
    assert writer.apply_retention(BY, 2) == ["00000010-a1e1n1", "00000020-a1e1n1"]
    assert store.list(folder(20)) == []
    assert writer.position().checkpoints == (30, 40)
    assert writer.apply_retention(BY, 2) == []


def test_a_drop_is_in_the_log_before_anything_is_deleted(store):
    order = []
    writer = journal(Watched(store, lambda operation, key: order.append((operation, key)), nothing))
    writer.commit(write_shards(store, FIRST, 40), 1)
    writer.apply_retention(BY, 2)
    drop = next(i for i, (operation, key) in enumerate(order) if operation == "create" and key == "log/00000006.json")
    assert min(i for i, (operation, _) in enumerate(order) if operation == "delete") > drop


def test_what_a_death_left_undeleted_goes_with_the_next_retention(store):
    journal(store).commit(write_shards(store, FIRST, 40), 1)
    deleted = 0
    for request in range(1000):
        try:
            journal(dying(store, request, answered=True)).apply_retention(BY, 2)
        except DiedError as death:
            deleted += "delete" in str(death)
        else:
            break
        if deleted == 1:
            break
    assert deleted == 1
    assert store.list(folder(10)) != []
    journal(store).apply_retention(BY, 2)
    assert store.list(folder(10)) == []
    assert store.list(folder(20)) == []


def test_uncommitted_saves_of_earlier_attempts_are_swept_and_those_of_the_present_one_are_not(store):
    write_shards(store, FIRST, 35)
    write_shards(store, GenerationId(2, 1, 1), 45)
    writer = journal(store)
    writer.open_attempt(SECOND, Restore())
    assert writer.apply_retention(Authority(2, 1), 3) == ["00000035-a1e1n1"]
    assert len(store.list("saves/00000045-a2e1n1/")) == 2


def test_shards_of_a_save_that_a_newer_checkpoint_has_overtaken_are_swept_and_it_is_committed_no_more(store):
    late = write_shards(store, FIRST, 35)
    store.delete([f"{folder(35)}00001.safetensors"])
    write_shards(store, FIRST, 45)
    writer = journal(store)
    writer.commit(write_shards(store, FIRST, 40), 1)
    assert writer.apply_retention(BY, 4) == ["00000035-a1e1n1"]
    assert (store.list(folder(35)), len(store.list(folder(45)))) == ([], 2)
    write_shards(store, FIRST, 35)
    journal(store).commit(late, 1)
    assert writer.position().checkpoints == (10, 20, 30, 40)
    assert writer.apply_retention(BY, 4) == ["00000035-a1e1n1"], "an upload that was slow"
    assert writer.history().deleted == frozenset(), "it never was a checkpoint"
