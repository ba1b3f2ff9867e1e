"""Does a manifest hold every tensor whole? Pure.

Asked before a save is committed: a checkpoint from which a tensor's middle is missing must not become visible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trainingjob_api.storage.manifest import Manifest, TensorSlice


def gaps(manifest: Manifest) -> list[str]:
    """The names of the replicated and sharded tensors that the save's pieces do not cover, sorted."""
    pieces: dict[str, list[TensorSlice]] = {}
    for piece in manifest.tensors:
        if piece.kind != "local":
            pieces.setdefault(piece.name, []).append(piece)
    return sorted(name for name, found in pieces.items() if not _covered(found))


def _covered(pieces: list[TensorSlice]) -> bool:
    whole = math.prod(pieces[0].global_shape)
    flat = [(piece.start, piece.stop) for piece in pieces if piece.start is not None and piece.stop is not None]
    boxes = {(piece.offsets, piece.shape): piece.elements() for piece in pieces if piece.offsets is not None}
    if not boxes:
        return _reach(flat) >= whole
    # Boxes of one save come from one sharding and do not overlap; equal ones are copies.
    return sum(boxes.values()) >= whole or _reach(flat) >= whole


def _reach(ranges: Iterable[tuple[int, int]]) -> int:
    """How far from element 0 the ranges go without a hole."""
    reached = 0
    for start, stop in sorted(ranges):
        if start > reached:
            break
        reached = max(reached, stop)
    return reached
