"""Checkpoints' objects: manifests and shards, written whole and read with their checksums verified. Effects.

Knows nothing of who may write, and does not touch the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from trainingjob_api.contract.messages import NO_ENTRIES, Commit, Shard
from trainingjob_api.storage.coverage import Coverage
from trainingjob_api.storage.entries import Checkpoint
from trainingjob_api.storage.layout import Label, manifest_key, save_prefix, shard_key
from trainingjob_api.storage.manifest import BadManifest, Manifest, ShardFile, TensorSlice, parse_manifest, parse_position, parse_slices
from trainingjob_storage.digests import digest, shard_digest
from trainingjob_storage.errors import AlreadyExists, Corrupt, NotFound, NotWhole
from trainingjob_storage.fronts import NO_FRONT, Front, Fronts, front_of, slices_in
from trainingjob_storage.store import Store


def build_manifest(reader: Fronts, commit: Commit, epoch: int, build: str) -> Manifest:
    """The manifest of a save whose shards are all in storage. Of the shards only the fronts are read, those that `reader` has not.

    Raises:
        NotWhole: what the ranks said, or what the shards hold, does not make a whole.
    """
    label = Label.of(commit.save)
    try:
        fronts = reader.read(label, {shard.name: _known(shard) for shard in commit.shards if shard.entries == NO_ENTRIES})
        manifest = Manifest(
            save=str(label),
            step=commit.save.step,
            attempt=commit.save.generation.attempt,
            epoch=epoch,
            world=commit.world,
            shards=tuple(_file(shard, fronts.get(shard.name)) for shard in commit.shards),
            tensors=tuple(piece for shard in commit.shards for piece in _pieces(shard.entries, shard.name)),
            position=parse_position(commit.position),
            build=build,
        )
        coverage = Coverage()
        coverage.add(slices_in(manifest, fronts))
        missing = coverage.gaps()
    except (ValueError, Corrupt) as error:
        raise NotWhole(f"save {label}: {error}") from None
    if missing:
        raise NotWhole(f"save {label} lacks parts of {len(missing)} tensors, among them {', '.join(map(str, missing[:3]))}")
    return manifest


def _known(shard: Shard) -> Front:
    """What the rank said of its shard's front; an older rendezvous does not hand it on."""
    return Front(shard.front_bytes, shard.front_blake3) if shard.front_blake3 else NO_FRONT


def _file(shard: Shard, read: bytes | None) -> ShardFile:
    front = NO_FRONT if read is None else _known(shard)
    if read is not None and front == NO_FRONT:
        front = front_of(read)
    return ShardFile(
        name=shard.name,
        bytes=shard.bytes,
        sha256=shard.sha256 or None,
        blake3=shard.blake3 or None,
        front_bytes=front.bytes or None,
        front_blake3=front.blake3 or None,
    )


def _pieces(entries: str, shard: str) -> tuple[TensorSlice, ...]:
    pieces = parse_slices(entries)
    if any(piece.shard != shard for piece in pieces):
        raise BadManifest(f"shard {shard}: its entries name another shard")
    return pieces


def write_manifest(store: Store, manifest: Manifest) -> str:
    """Write a save's manifest unless it is there, and return the checksum of the one that is there then.

    Raises:
        NotWhole: a shard is not there.
        Corrupt: there is a manifest of other shards.
    """
    label = manifest.label
    present = set(store.list(save_prefix(label)))
    lacking = [shard.name for shard in manifest.shards if shard_key(label, shard.name) not in present]
    if lacking:
        raise NotWhole(f"save {label}: {', '.join(lacking[:3])} is not in storage")
    data = manifest.to_bytes()
    try:
        store.create(manifest_key(label), data)
    except AlreadyExists:
        return _same(store, manifest)
    return digest(data)


def _same(store: Store, manifest: Manifest) -> str:
    """Another agent wrote it before: what it says of the tensors must be the same."""
    found = store.get(manifest_key(manifest.label))
    try:
        other = parse_manifest(found)
    except BadManifest as error:
        raise Corrupt(f"{manifest_key(manifest.label)}: {error}") from None
    if (other.save, other.shards, other.tensors) != (manifest.save, manifest.shards, manifest.tensors):
        raise Corrupt(f"{manifest_key(manifest.label)}: there is a manifest of other shards already")
    return digest(found)


def read_manifest(store: Store, entry: Checkpoint) -> Manifest:
    """The manifest of a committed checkpoint.

    Raises:
        Corrupt: missing, torn, or not the one that was committed.
    """
    label = Label.parse(entry.save)
    if label is None:
        raise Corrupt(f"{entry.save} is no save's label")
    data = _verified(store, manifest_key(label), None, lambda data: digest(data) == entry.manifest_sha256)
    try:
        manifest = parse_manifest(data)
    except BadManifest as error:
        raise Corrupt(f"{manifest_key(label)}: {error}") from None
    if manifest.save != entry.save:
        raise Corrupt(f"{manifest_key(label)}: it is the manifest of {manifest.save}")
    return manifest


def read_shards(store: Store, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Each shard's name and content, one after the other.

    Raises:
        Corrupt: missing, torn, or flipped.
    """
    for shard in manifest.shards:
        yield shard.name, _verified(store, shard_key(manifest.label, shard.name), shard.bytes, partial(_is_whole, shard))


def _is_whole(shard: ShardFile, data: bytes) -> bool:
    return digest(data) == shard.sha256 if shard.blake3 is None else shard_digest(data) == shard.blake3


def _verified(store: Store, key: str, length: int | None, is_whole: Callable[[bytes], bool]) -> bytes:
    """The object; fetched twice before it is called damaged, since the way to here may be what flipped a bit."""
    for _ in range(2):
        try:
            data = store.get(key)
        except NotFound:
            raise Corrupt(f"{key} is missing") from None
        if (length is None or len(data) == length) and is_whole(data):
            return data
    raise Corrupt(f"{key}: {len(data)} bytes with another checksum than was committed" if length in (None, len(data)) else f"{key} is torn")
