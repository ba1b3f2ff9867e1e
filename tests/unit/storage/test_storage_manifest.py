"""Manifests are strict about what they hold, and say what is missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.storage.manifest import (
    BadManifest,
    Manifest,
    Position,
    ShardFile,
    TensorSlice,
    parse_manifest,
    parse_position,
    parse_slices,
    slices_json,
)

SHA = "ab" * 32


def piece(start: int | None = 0, stop: int | None = 6, shard=0, **fields):
    begin = fields.pop("begin", 0)
    base = {"name": "w", "shard": f"{shard:05d}.safetensors", "global_shape": (2, 3), "dtype": "F32", "begin": begin}
    flat = {"start": start, "stop": stop, "end": begin + 4 * ((stop or 0) - (start or 0))}
    return TensorSlice(**(base | flat | fields))


def box(offsets, shape, shard=0, **fields):
    count = 1
    for length in shape:
        count *= length
    return piece(None, None, shard, **({"offsets": offsets, "shape": shape, "end": 4 * count} | fields))


def manifest(*pieces, shards=2, **fields):
    files = tuple(ShardFile(name=f"{rank:05d}.safetensors", bytes=100, blake3=SHA) for rank in range(shards))
    base = {"save": "00000010-a1e1n1", "step": 10, "attempt": 1, "epoch": 1, "world": shards, "shards": files, "tensors": pieces}
    return Manifest(**(base | fields))


def test_a_manifest_reads_back():
    extra = {"scaler": {"scale": 2.0, "steps": [1, None]}}
    position = Position(step=10, digest="d", strategy="DataParallel", metrics={"loss": 0.25, "bad": float("nan")}, extra=extra)
    whole = manifest(piece(0, 2), piece(2, 6, shard=1), position=position, build="image@sha256:1")
    assert parse_manifest(whole.to_bytes()) == whole
    assert whole.position.metrics == {"loss": 0.25}
    assert whole.strategy == "DataParallel"


def test_slices_read_back():
    pieces = (piece(0, 2), box((1, 0), (1, 3), kind="sharded"), piece(0, 1, global_shape=(), name="step", kind="local"))
    assert parse_slices(slices_json(pieces)) == pieces


def test_an_empty_position_is_a_position():
    assert parse_position("{}") == Position()


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": 7},
        {"start": 3, "stop": 2, "end": 0},
        {"end": 23},
        {"dtype": "OBJ"},
        {"stop": None},
        {"offsets": (0, 0), "shape": (2, 3)},
        {"shard": "../../etc.safetensors"},
        {"name": ""},
        {"begin": -4, "end": 20},
        {"global_shape": (2,) * 17},
        {"global_shape": (2, -3)},
        {"end": "24"},
    ],
    ids=str,
)
def test_a_slice_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValueError):
        piece(**fields)


@pytest.mark.parametrize(("offsets", "shape"), [((0, 1), (2, 3)), ((0,), (2,)), ((2, 0), (1, 3))])
def test_a_box_outside_its_tensor_is_refused(offsets, shape):
    with pytest.raises(ValueError):
        box(offsets, shape)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"save": "../x"},
        {"step": 11},
        {"shards": []},
        {"world": 0},
        {"world": "2"},
        {"tensors": [{"name": "w"}]},
        {"shards": [{"name": "00000.safetensors", "bytes": 3, "blake3": SHA}]},
        {"shards": [{"name": "00000.safetensors", "bytes": 100, "blake3": SHA}] * 2},
        {"shards": [{"name": "00000.safetensors", "bytes": 100}]},
        {"shards": [{"name": "00000.safetensors", "bytes": 100, "sha256": SHA, "blake3": SHA}]},
        {"shards": [{"name": "manifest.json", "bytes": 100, "blake3": SHA}]},
        {"position": {"metrics": 3}},
    ],
    ids=str,
)
def test_a_manifest_that_contradicts_itself_is_refused(change):
    fields = json.loads(manifest(piece(0, 6)).to_bytes())
    with pytest.raises(BadManifest):
        parse_manifest(json.dumps(fields | change).encode())


def test_pieces_of_a_tensor_must_agree_unless_local():
    with pytest.raises(ValueError, match="disagree"):
        manifest(piece(0, 3), piece(3, 6, shard=1, dtype="I32"))
    manifest(piece(0, 6, kind="local"), piece(0, 2, shard=1, kind="local", global_shape=(2,)))


@given(st.binary(max_size=300))
def test_parsing_never_fails_otherwise(data):
    with pytest.raises(BadManifest):
        parse_manifest(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_still_a_manifest(index, value):
    data = bytearray(manifest(piece(0, 6)).to_bytes())
    data[index % len(data)] = value
    try:
        parse_manifest(bytes(data))
    except BadManifest:
        return
