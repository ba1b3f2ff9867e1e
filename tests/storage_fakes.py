"""A store in memory, and stores that fail, for the tests of the log and of all that keeps a job's state."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable

from blake3 import blake3

from trainingjob_api.contract.messages import Commit, GenerationId, SaveId, Shard
from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_api.storage.front import write_front
from trainingjob_api.storage.layout import Label, shard_key, shard_name
from trainingjob_api.storage.manifest import TensorSlice, slices_json
from trainingjob_storage.errors import AlreadyExists, NotFound, Unreachable
from trainingjob_storage.fronts import front_of
from trainingjob_storage.store import Store


class MemoryStore:
    """Objects in a dictionary."""

    def __init__(self, uri: str = "file:///memory") -> None:
        self.uri = uri
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def create(self, key: str, data: bytes) -> None:
        with self._lock:
            if key in self.objects:
                raise AlreadyExists(key)
            self.objects[key] = bytes(data)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self.objects[key] = bytes(data)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise NotFound(key) from None

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.get(key)[start:stop]

    def list(self, prefix: str) -> list[str]:
        assert not prefix or prefix.endswith("/")
        return sorted(key for key in list(self.objects) if key.startswith(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)


class DiedError(Exception):
    """The process was killed here."""


class Watched:
    """Passes every request on; `before` and `after` hear of it and may raise. Each deleted key is a request of its own."""

    def __init__(self, store: Store, before: Callable[[str, str], None], after: Callable[[str, str], None]) -> None:
        self.uri = store.uri
        self._store = store
        self._before = before
        self._after = after

    def create(self, key: str, data: bytes) -> None:
        self._before("create", key)
        self._store.create(key, data)
        self._after("create", key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._before("put", key)
        self._store.put(key, data)
        self._after("put", key)

    def get(self, key: str) -> bytes:
        self._before("get", key)
        data = self._store.get(key)
        self._after("get", key)
        return data

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        self._before("get", key)
        data = self._store.get_range(key, start, stop)
        self._after("get", key)
        return data

    def list(self, prefix: str) -> list[str]:
        self._before("list", prefix)
        keys = self._store.list(prefix)
        self._after("list", prefix)
        return keys

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._before("delete", key)
            self._store.delete([key])
            self._after("delete", key)


def nothing(operation: str, key: str) -> None:
    """Hears, and does nothing."""


def dying(store: Store, request: int, *, answered: bool) -> Watched:
    """The process dies at the request of that number (from 0): before it, or once it took effect."""
    count = -1

    def before(operation: str, key: str) -> None:
        nonlocal count
        count += 1
        if count >= request and not (answered and count == request):
            raise DiedError(f"before {operation} {key}")

    def after(operation: str, key: str) -> None:
        if count >= request:
            raise DiedError(f"after {operation} {key}")

    return Watched(store, before, after)


def losing_answers(store: Store, requests: set[int]) -> tuple[Watched, list[str]]:
    """Of these requests to create (numbered from 0) the answer is lost: they took effect, and report that they failed."""
    fired: list[str] = []
    count = -1

    def after(operation: str, key: str) -> None:
        nonlocal count
        if operation == "create":
            count += 1
            if count in requests:
                fired.append(key)
                raise Unreachable(f"no answer: {key}")

    return Watched(store, nothing, after), fired


def shard_content(step: int, rank: int, world: int, generation: GenerationId) -> bytes:
    """What a rank's shard holds of the one tensor, in these tests."""
    return f"{generation.label()} step {step} rank {rank} of {world} ".encode() * (rank + 1)


def shard_slice(step: int, rank: int, world: int, generation: GenerationId) -> TensorSlice:
    """Which part of the tensor that is."""
    sizes = [len(shard_content(step, each, world, generation)) for each in range(world)]
    start, length = sum(sizes[:rank]), sizes[rank]
    whole = {"name": "model/w", "global_shape": (sum(sizes),), "dtype": "U8", "begin": 0}
    return TensorSlice(shard=shard_name(rank), start=start, stop=start + length, end=length, **whole)


def shard_bytes(step: int, rank: int, world: int, generation: GenerationId) -> bytes:
    """A rank's whole shard."""
    return write_front([shard_slice(step, rank, world, generation)]) + shard_content(step, rank, world, generation)


def write_shards(
    store: Store, generation: GenerationId, step: int, world: int = 2, contract: int = CONTRACT_VERSION, *, fronts: bool = True
) -> Commit:
    """Put a save's shards, as agents of a contract do, and return what the rendezvous then sends.

    Args:
        fronts: whether the shards list their slices themselves; without, the commit does, as it once had to.
    """
    save = SaveId(generation=generation, step=step)
    shards = []
    for rank in range(world):
        name, of = shard_name(rank), (step, rank, world, generation)
        data = shard_bytes(*of) if fronts else shard_content(*of)
        store.put(shard_key(Label.of(save), name), data)
        checksum = {"sha256": hashlib.sha256(data).hexdigest()} if contract == 1 else {"blake3": blake3(data).hexdigest()}
        length, digest = front_of(data)
        listed = {"front_bytes": length, "front_blake3": digest} if fronts else {"entries": slices_json([shard_slice(*of)])}
        shards.append(Shard(rank=rank, name=name, bytes=len(data), **checksum, **listed))
    position = json.dumps({"step": step, "digest": f"d{step}", "metrics": {"loss": 0.5}})
    return Commit(save=save, world=world, shards=tuple(shards), position=position)
