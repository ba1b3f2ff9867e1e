"""The front of a shard: which pieces of which tensors it holds, and where. Pure.

A shard is a safetensors file (huggingface.co/docs/safetensors): eight bytes, the header's length; the header, JSON, padded with spaces;
then the tensors' bytes without gaps. That says what bytes a piece has. Which part of its tensor it is stands in the header's metadata, as
`slices`, where the safetensors library leaves it alone: {name: {"global_shape": […], "start": n}}, or "offsets" in place of "start".
So a save is described by the fronts of its shards, which can be read by range, whatever the number of its ranks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from trainingjob_api.storage.manifest import BadManifest, TensorSlice, parse_slices

MAX_HEADER_BYTES = 64 << 20
"""A longer header is refused unread; the safetensors library refuses one of 100 MB."""
LENGTH_BYTES = 8
"""Every shard begins with this much, the header's length: see `front_bytes`."""
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_METADATA, _SLICES = "__metadata__", "slices"


def write_front(slices: Sequence[TensorSlice]) -> bytes:
    """Return a shard's bytes before its tensors'. The slices lie one behind the other, without gaps, each of another tensor."""
    places = {piece.name: _place(piece) for piece in slices}
    assert len(places) == len(slices), "a shard holds one piece of a tensor"
    header: dict[str, Any] = {_METADATA: {"format": "pt", _SLICES: json.dumps(places, separators=(",", ":"))}}
    for piece in slices:
        shape = [piece.elements()] if piece.shape is None else piece.shape
        header[piece.name] = {"dtype": piece.dtype, "shape": shape, "data_offsets": [piece.begin, piece.end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def _place(piece: TensorSlice) -> dict[str, Any]:
    place: dict[str, Any] = {"global_shape": piece.global_shape}
    if piece.kind != "replicated":
        place["kind"] = piece.kind
    return place | ({"start": piece.start} if piece.offsets is None else {"offsets": piece.offsets})


def front_bytes(data: bytes | memoryview, shard: str) -> int:
    """Return how long the front of a shard is, from its first bytes.

    Raises:
        BadManifest: there are fewer than LENGTH_BYTES, or it is longer than MAX_HEADER_BYTES.
    """
    if len(data) < LENGTH_BYTES:
        raise BadManifest(f"shard {shard}: it ends after {len(data)} bytes, within its header's length")
    (length,) = _LENGTH.unpack_from(data)
    if length > MAX_HEADER_BYTES:
        raise BadManifest(f"shard {shard}: its header has {length} bytes; at most {MAX_HEADER_BYTES} are allowed")
    return int(LENGTH_BYTES + length)


def parse_front(front: bytes, shard: str, shard_bytes: int) -> tuple[TensorSlice, ...]:
    """Return the slices that the front of a shard lists.

    Args:
        front: the shard's bytes before its tensors'.
        shard: its name.
        shard_bytes: how long the shard is.

    Raises:
        BadManifest: the front is cut off, lists no slices, or contradicts itself or the shard's length.
    """
    length = front_bytes(front, shard)
    if len(front) != length:
        raise BadManifest(f"shard {shard}: its header ends after {len(front)} of {length} bytes")
    try:
        header = from_json(front[LENGTH_BYTES:])
        metadata = header.pop(_METADATA)
        places = from_json(metadata[_SLICES]) if header else {}
        pieces = [_fields(shard, name, entry, places[name]) for name, entry in header.items()]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadManifest(f"shard {shard}: its header lists no slices: {error!r:.200}") from None
    found = _checked(shard, pieces)
    if any(piece.end > shard_bytes - length for piece in found):
        raise BadManifest(f"shard {shard}: its header points outside of its {shard_bytes} bytes")
    return found


def _fields(shard: str, name: str, entry: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    begin, end = entry["data_offsets"]
    fields = {**place, "name": name, "shard": shard, "dtype": entry["dtype"], "begin": begin, "end": end}
    if "offsets" in place:
        return fields | {"shape": entry["shape"]}
    (elements,) = entry["shape"]
    return fields | {"stop": place["start"] + elements}


def _checked(shard: str, pieces: Sequence[dict[str, Any]]) -> tuple[TensorSlice, ...]:
    try:
        return parse_slices(to_json(pieces).decode())
    except (BadManifest, ValueError) as error:
        raise BadManifest(f"shard {shard}: {error}") from None
