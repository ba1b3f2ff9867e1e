"""What a save's shards hold, read from their fronts by range: no shard is read whole for it. Effects.

The digest of a front lies beside that of its whole shard, in what the agents report and in the manifest, so that a front can be verified
without the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trainingjob_api.storage.front import LENGTH_BYTES, MAX_HEADER_BYTES, front_bytes, parse_front
from trainingjob_api.storage.layout import Label, shard_key
from trainingjob_api.storage.manifest import BadManifest, Manifest, TensorSlice
from trainingjob_storage.digests import shard_digest
from trainingjob_storage.errors import Corrupt, NotFound
from trainingjob_storage.store import Store


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
    yield from manifest.tensors
    for shard in manifest.shards:
        if shard.front_bytes is not None and shard.front_blake3 is not None:
            front = read_front(store, manifest.label, shard.name, Front(shard.front_bytes, shard.front_blake3))
            yield from parse_front(front, shard.name, shard.bytes)
