"""What a save's shards hold, read from their fronts by range: no shard is read whole for it. Effects.

The digest of a front lies beside that of its whole shard, in what the agents report and in the manifest, so that a front can be verified
without the rest.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from trainingjob_api.storage.front import LENGTH_BYTES, MAX_HEADER_BYTES, front_bytes, parse_front
from trainingjob_api.storage.layout import Label, shard_key
from trainingjob_api.storage.manifest import BadManifest, Manifest, TensorSlice
from trainingjob_storage.digests import shard_digest
from trainingjob_storage.errors import Corrupt, NotFound
from trainingjob_storage.store import Store

READERS = 8
"""Fronts read at once: a commit waits for a round trip per so many ranks."""
FEW = 2
"""Up to so many are read one after the other: threads gain nothing."""
REMEMBERED = 4
"""Saves whose fronts are remembered between two tries of their commit; more of them are read again."""


class Front(NamedTuple):
    """The bytes of a shard before its tensors', and how to know them again."""

    bytes: int
    blake3: str


NO_FRONT = Front(0, "")


def front_of(shard: bytes | memoryview) -> Front:
    """Return the front of a shard in memory, NO_FRONT if it has none."""
    try:
        length = front_bytes(shard, "")
    except BadManifest:
        return NO_FRONT
    return Front(length, shard_digest(shard[:length])) if length <= len(shard) else NO_FRONT


def read_front(store: Store, label: Label, name: str, known: Front) -> bytes:
    """Read the front of a shard.

    Args:
        store: the job's storage.
        label: the save's.
        name: the shard's.
        known: what it must be; NO_FRONT: nobody said, and the front's own length is believed.

    Raises:
        Corrupt: the shard is missing, too short, or its front is another one.
    """
    key = shard_key(label, name)
    try:
        return _read_known(store, key, known) if known.blake3 else _read_any(store, key)
    except NotFound:
        raise Corrupt(f"{key} is missing") from None


class Fronts:
    """Reads the fronts of a save's shards, several at once, and remembers them: a commit that is tried again reads what it lacks.

    Safe for use by several threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._saves: OrderedDict[Label, dict[tuple[str, Front], bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, label: Label, shards: Mapping[str, Front]) -> dict[str, bytes]:
        """Return the fronts by their shards' names.

        Args:
            label: the save's.
            shards: what each must be, by name; NO_FRONT: nobody said.

        Raises:
            Corrupt: see read_front.
        """
        found = self._of(label)

        def read(wanted: tuple[str, Front]) -> None:
            found[wanted] = read_front(self._store, label, *wanted)

        lacking = [wanted for wanted in shards.items() if wanted not in found]
        if len(lacking) <= FEW:
            list(map(read, lacking))
        else:
            with ThreadPoolExecutor(READERS, thread_name_prefix="fronts") as pool:
                list(pool.map(read, lacking))
        return {name: found[name, known] for name, known in shards.items()}

    def forget(self, label: Label) -> None:
        """The save's commit is not tried again."""
        with self._lock:
            self._saves.pop(label, None)

    def _of(self, label: Label) -> dict[tuple[str, Front], bytes]:
        with self._lock:
            found = self._saves.setdefault(label, {})
            self._saves.move_to_end(label)
            while len(self._saves) > REMEMBERED:
                self._saves.popitem(last=False)
            return found


def _read_known(store: Store, key: str, known: Front) -> bytes:
    if known.bytes > LENGTH_BYTES + MAX_HEADER_BYTES:
        raise Corrupt(f"{key}: its header is said to have {known.bytes} bytes; at most {MAX_HEADER_BYTES} are allowed")
    for _ in range(2):  # the way to here may be what flipped a bit
        front = _read(store, key, known.bytes)
        if shard_digest(front) == known.blake3:
            return front
    raise Corrupt(f"{key}: its header, {known.bytes} bytes, has another checksum than was reported")


def _read_any(store: Store, key: str) -> bytes:
    try:
        return _read(store, key, front_bytes(_read(store, key, LENGTH_BYTES), key))
    except BadManifest as error:
        raise Corrupt(str(error)) from None


def _read(store: Store, key: str, length: int) -> bytes:
    found = store.get_range(key, 0, length)
    if len(found) < length:
        raise Corrupt(f"{key} is torn: it ends after {len(found)} bytes, within the {length} of its header")
    return found


def read_slices(store: Store, manifest: Manifest) -> Iterator[TensorSlice]:
    """Yield all slices of a save: those in its manifest, and those in the fronts of its shards.

    Raises:
        Corrupt: a front is not what the manifest says.
        BadManifest: a front contradicts itself, or its shard.
    """
    known = {
        shard.name: Front(shard.front_bytes, shard.front_blake3)
        for shard in manifest.shards
        if shard.front_bytes is not None and shard.front_blake3 is not None
    }
    yield from slices_in(manifest, Fronts(store).read(manifest.label, known))


def slices_in(manifest: Manifest, fronts: Mapping[str, bytes]) -> Iterator[TensorSlice]:
    """Yield all slices of a save, given the fronts of its shards.

    Raises:
        BadManifest: a front contradicts itself, or its shard.
    """
    yield from manifest.tensors
    for shard in manifest.shards:
        if shard.name in fronts:
            yield from parse_front(fronts[shard.name], shard.name, shard.bytes)
