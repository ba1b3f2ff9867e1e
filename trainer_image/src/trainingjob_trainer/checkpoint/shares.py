"""Who writes which part of a replicated state, and in which pieces a state travels. Pure.

All tensors are laid end to end, in bytes; rank r of W gets the r-th of W equal ranges, moved to whole elements. So
a tensor is cut only where two shares meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Extent(NamedTuple):
    """A tensor's size."""

    elements: int
    item: int
    """Bytes of one element."""


class Piece(NamedTuple):
    """Elements start … stop-1 of tensor number `number`."""

    number: int
    start: int
    stop: int


def shares(extents: Sequence[Extent], world: int, rank: int) -> list[Piece]:
    """The pieces that rank `rank` of `world` writes. Over all ranks every element occurs exactly once."""
    total = sum(extent.elements * extent.item for extent in extents)
    return cut(extents, total * rank // world, total * (rank + 1) // world)


def chunks(extents: Sequence[Extent], size: int) -> list[list[Piece]]:
    """The whole state in runs of at most `size` bytes each."""
    total = sum(extent.elements * extent.item for extent in extents)
    # An element that straddles a boundary belongs to the run in which it begins: leave room for it.
    pitch = max(1, size - max((extent.item for extent in extents), default=1))
    runs = [cut(extents, low, min(low + pitch, total)) for low in range(0, total, pitch)]
    return [run for run in runs if run]


def cut(extents: Sequence[Extent], low: int, high: int) -> list[Piece]:
    """The elements that begin at the bytes low … high-1 of all tensors laid end to end."""
    found, offset = [], 0
    for index, (elements, item) in enumerate(extents):
        start = min(max(-(-(low - offset) // item), 0), elements)
        stop = min(max(-(-(high - offset) // item), 0), elements)
        if start < stop:
            found.append(Piece(index, start, stop))
        offset += elements * item
    return found
