"""A shard's front lists what it holds: it is read by range, verified by itself, and a commit needs no more than its digest."""

import json
import math
import struct
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_fakes import MemoryStore, shard_bytes, write_shards
from trainingjob_api.contract.messages import MAX_MESSAGE_BYTES, RENDEZVOUS_MESSAGE, Commit, GenerationId, Restore, SaveId, Shard
from trainingjob_api.storage.front import MAX_HEADER_BYTES, front_bytes, parse_front, write_front
from trainingjob_api.storage.layout import Label, shard_key, shard_name
from trainingjob_api.storage.manifest import ITEM_BYTES, BadManifest, TensorSlice, parse_manifest
from trainingjob_storage.errors import Corrupt, NotWhole, Unreachable
from trainingjob_storage.fronts import NO_FRONT, READERS, REMEMBERED, Fronts, front_of, read_slices
from trainingjob_storage.journal import Journal

GENERATION = GenerationId(1, 1, 1)
FOLDER = "saves/00000010-a1e1n1"
NAME = "00001.safetensors"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def journal(store):
    opened = Journal(store, "u1", "default/digits", "build-1", False, lambda: 1000.5)
    opened.open_attempt(GENERATION, Restore())
    return opened


# --- the format ---------------------------------------------------------------------------


@st.composite
def slices(draw):
    """What a rank of any mesh may write: a run or a box of each of some tensors."""
    found, begin = [], 0
    names = st.lists(st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"), max_size=6, unique=True)
    for name in draw(names):
        shape = tuple(draw(st.lists(st.integers(0, 40), max_size=3)))
        dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
        if draw(st.booleans()):
            start, stop = sorted(draw(st.tuples(*[st.integers(0, math.prod(shape))] * 2)))
            count, place = stop - start, {"start": start, "stop": stop}
        else:
            spans = [sorted(draw(st.tuples(*[st.integers(0, length)] * 2))) for length in shape]
            inner = tuple(last - first for first, last in spans)
            count, place = math.prod(inner), {"offsets": tuple(first for first, _ in spans), "shape": inner}
        kind, end = draw(st.sampled_from(["replicated", "sharded", "local"])), begin + count * ITEM_BYTES[dtype]
        found.append(TensorSlice(name=name, shard=NAME, global_shape=shape, dtype=dtype, kind=kind, begin=begin, end=end, **place))
        begin = end
    return tuple(found)


@given(slices())
def test_a_front_reads_back(pieces):
    front = write_front(pieces)
    assert front_bytes(front[:8], NAME) == len(front)
    assert len(front) % 8 == 0
    assert parse_front(front, NAME, len(front) + (pieces[-1].end if pieces else 0)) == pieces


def test_a_shard_of_an_older_trainer_that_holds_nothing_lists_nothing():
    text = b'{"__metadata__":{"format":"pt"}}'
    assert parse_front(struct.pack("<Q", len(text)) + text, NAME, 40) == ()


PIECE = TensorSlice(name="w", shard=NAME, global_shape=(6,), dtype="F32", start=1, stop=3, begin=0, end=8)


def damaged(**changes):
    """The header of one piece of "w", with other entries."""
    front = write_front([PIECE])
    header = json.loads(front[8:]) | changes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "front",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", MAX_HEADER_BYTES + 1),
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        damaged(__metadata__={"format": "pt"}),
        damaged(__metadata__=None),
        damaged(__metadata__={"slices": "7"}),
        damaged(__metadata__={"slices": '{"w": {"global_shape": [6], "start": "1"}}'}),
        damaged(__metadata__={"slices": '{"w": {"global_shape": [2], "start": 1}}'}),
        damaged(w={"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}),
        damaged(w={"dtype": "F32", "shape": [2], "data_offsets": [100, 108]}),
        damaged(w={"dtype": "F32", "shape": [], "data_offsets": [0, 4]}),
        damaged(v={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
    ],
    ids=lambda front: repr(front[:60]),
)
def test_a_front_that_lists_nothing_or_contradicts_itself_is_refused_naming_the_shard(front):
    with pytest.raises(BadManifest, match=f"shard {NAME}"):
        parse_front(front, NAME, len(front) + 8)


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_still_a_front(index, value):
    front = bytearray(write_front([PIECE]))
    front[index % len(front)] = value
    try:
        parse_front(bytes(front), NAME, len(front) + 8)
    except BadManifest:
        return


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 100) + b"{}"])
def test_what_is_no_shard_has_no_front(data):
    assert front_of(data) == NO_FRONT


# --- commits ------------------------------------------------------------------------------


def spoiled(store, damage, data):
    """Damage the shard in the store."""
    front = front_of(data).bytes
    changed = {
        "nothing is there": b"",
        "its length is cut off": data[:5],
        "its header is cut off": data[: front - 9],
        "a bit is flipped": data[: front - 9] + bytes([data[front - 9] ^ 1]) + data[front - 8 :],
        "it is another save's": shard_bytes(12345, 1, 2, GENERATION),
    }
    store.put(f"{FOLDER}/{NAME}", changed[damage])


TORN = {"nothing is there", "its length is cut off", "its header is cut off"}


@pytest.mark.parametrize("damage", [*sorted(TORN), "a bit is flipped", "it is another save's"])
def test_a_shard_whose_front_is_damaged_leaves_the_save_invisible_and_is_named(store, journal, damage):
    commit = write_shards(store, GENERATION, 10)
    spoiled(store, damage, store.get(f"{FOLDER}/{NAME}"))
    with pytest.raises(NotWhole, match=rf"{FOLDER}/{NAME}.* {'is torn' if damage in TORN else 'another checksum'}"):
        journal.commit(commit, 1)
    assert journal.position().checkpoint is None


def test_a_front_that_is_said_to_be_huge_is_not_read(store, journal):
    commit = write_shards(store, GENERATION, 10)
    huge = commit.shards[1].model_copy(update={"front_bytes": 1 << 40})
    with pytest.raises(NotWhole, match=rf"{NAME}: its header is said to have"):
        journal.commit(commit.model_copy(update={"shards": (commit.shards[0], huge)}), 1)


def without_fronts(commit):
    """As a rendezvous hands it on that does not know of them."""
    bare = {"front_bytes": 0, "front_blake3": ""}
    return commit.model_copy(update={"shards": tuple(shard.model_copy(update=bare) for shard in commit.shards)})


@pytest.mark.parametrize("damage", sorted(TORN))
def test_a_torn_shard_is_named_though_nobody_has_said_what_its_front_is(store, journal, damage):
    commit = without_fronts(write_shards(store, GENERATION, 10))
    spoiled(store, damage, store.get(f"{FOLDER}/{NAME}"))
    with pytest.raises(NotWhole, match=NAME):
        journal.commit(commit, 1)


def test_an_older_rendezvous_commits_the_same_checkpoint(store, journal):
    commit = write_shards(store, GENERATION, 10)
    other = MemoryStore()
    other.objects = dict(store.objects)
    journal.commit(commit, 1)
    later = Journal(other, "u1", "default/digits", "build-1", False, lambda: 1000.5)
    later.commit(without_fronts(commit), 1)
    assert other.objects == store.objects


def test_ranks_of_either_kind_make_one_save(store, journal):
    new, old = (write_shards(store, GENERATION, 10, fronts=fronts) for fronts in (True, False))
    store.put(f"{FOLDER}/{shard_name(0)}", shard_bytes(10, 0, 2, GENERATION))
    journal.commit(new.model_copy(update={"shards": (new.shards[0], old.shards[1])}), 1)
    manifest = parse_manifest(store.get(f"{FOLDER}/manifest.json"))
    assert sorted(piece.shard for piece in read_slices(store, manifest)) == [shard_name(0), NAME]


def test_a_front_that_changed_after_the_commit_is_damaged(store, journal):
    journal.commit(write_shards(store, GENERATION, 10), 1)
    manifest = parse_manifest(store.get(f"{FOLDER}/manifest.json"))
    spoiled(store, "a bit is flipped", store.get(f"{FOLDER}/{NAME}"))
    with pytest.raises(Corrupt, match=rf"{NAME}: its header, \d+ bytes, has another checksum"):
        list(read_slices(store, manifest))


class Metered(MemoryStore):
    """Counts what is read of shards; a whole one is never to be read."""

    read = 0

    def get(self, key):
        assert not key.endswith(".safetensors"), "a shard is read whole"
        return super().get(key)

    def get_range(self, key, start, stop):
        found = self.objects[key][start:stop]
        self.read += len(found)
        return found


def test_a_save_of_ten_thousand_slices_fits_a_message_and_no_shard_is_read_whole():
    world, tensors, store = 8, 1250, Metered()
    save = SaveId(generation=GENERATION, step=10)
    shards, fronts = [], 0
    for rank in range(world):
        pieces = [
            TensorSlice(
                name=f"optimizer/transformer.layers.{number}.weight/exp_avg",
                shard=shard_name(rank),
                global_shape=(8, 64),
                dtype="F32",
                kind="sharded",
                offsets=(rank, 0),
                shape=(1, 64),
                begin=256 * number,
                end=256 * (number + 1),
            )
            for number in range(tensors)
        ]
        data = write_front(pieces) + bytes(256 * tensors)
        front = front_of(data)
        fronts += front.bytes
        store.put(shard_key(Label.of(save), shard_name(rank)), data)
        whole = {"blake3": "0" * 64, "front_bytes": front.bytes, "front_blake3": front.blake3}
        shards.append(Shard(rank=rank, name=shard_name(rank), bytes=len(data), **whole))
    commit = Commit(save=save, world=world, shards=tuple(shards))
    sent = commit.model_dump_json()
    assert len(sent) < 300 * world < MAX_MESSAGE_BYTES
    assert RENDEZVOUS_MESSAGE.validate_json(sent) == commit
    journal = Journal(store, "u1", "default/digits", "build-1", False, lambda: 1000.5)
    journal.open_attempt(GENERATION, Restore())
    journal.commit(commit, 1)
    assert store.read == fronts
    assert len(store.objects[f"{FOLDER}/manifest.json"]) < 500 * world


class Abreast(MemoryStore):
    """Answers no read of a front before so many are asked for."""

    def __init__(self):
        super().__init__()
        self.asked = threading.Barrier(READERS)

    def get_range(self, key, start, stop):
        self.asked.wait(10)
        return super().get_range(key, start, stop)


class Failing(MemoryStore):
    """Fails at the fronts of these shards, and counts the reads of each."""

    def __init__(self):
        super().__init__()
        self.failing, self.reads = set(), Counter()

    def get_range(self, key, start, stop):
        self.reads[key.rpartition("/")[2]] += 1
        if key.rpartition("/")[2] in self.failing:
            raise Unreachable(key)
        return super().get_range(key, start, stop)


def opened(store):
    journal = Journal(store, "u1", "default/digits", "build-1", False, lambda: 1000.5)
    journal.open_attempt(GENERATION, Restore())
    return journal


def test_a_commit_reads_several_fronts_at_once():
    store = Abreast()
    assert opened(store).commit(write_shards(store, GENERATION, 10, world=READERS), 1).checkpoint == 10


def test_a_commit_that_is_tried_again_reads_only_the_fronts_that_it_lacks():
    store, names = Failing(), [shard_name(rank) for rank in range(4)]
    journal, commit = opened(store), write_shards(store, GENERATION, 10, world=4)
    store.failing = {names[3]}
    with pytest.raises(Unreachable):
        journal.commit(commit, 1)
    store.failing = set()
    assert journal.commit(commit, 1).checkpoint == 10
    assert store.reads == {names[0]: 1, names[1]: 1, names[2]: 1, names[3]: 2}


def test_few_saves_fronts_are_remembered_and_none_that_is_not_tried_again():
    store = Failing()
    fronts, steps = Fronts(store), range(10, 10 * (REMEMBERED + 2), 10)
    labels = {step: Label.of(write_shards(store, GENERATION, step).save) for step in steps}

    def reads(step):
        before = store.reads.total()
        fronts.read(labels[step], {NAME: NO_FRONT})
        return store.reads.total() - before

    assert all(reads(step) for step in steps)
    assert not reads(steps[-1])
    fronts.forget(labels[steps[-1]])
    assert reads(steps[-1])
    assert reads(steps[0])
