"""Which elements of a save's tensors lie in none of its shards? Pure.

Asked before a save is committed: a checkpoint from which a tensor's middle is missing must not become visible. Pieces may overlap, since
copies of a piece are allowed; so a volume proves nothing, and the answer is exact: the pieces' union is compared with the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from trainingjob_api.storage.manifest import BadManifest, TensorSlice

MAX_SLABS = 1_000_000
"""Cuts of one tensor that are looked at: seconds. A grid of 64 by 64 pieces has 4,225."""

Span = tuple[int, int]
"""First index of one dimension, and the index after the last."""
Box = tuple[Span, ...]
"""One span a dimension. The only box of a tensor without dimensions is ()."""


class Gap(NamedTuple):
    """Elements of a tensor that no piece holds."""

    name: str
    box: Box

    def __str__(self) -> str:
        spans = ", ".join(f"{first}:{last}" for first, last in self.box)
        return f"{self.name}[{spans}]" if spans else self.name


class Coverage:
    """What the pieces seen so far hold of each tensor. Local tensors are left out: each rank has its own."""

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], str, str]] = {}
        self._boxes: dict[str, set[Box]] = {}
        self._runs: dict[str, set[Span]] = {}

    def add(self, pieces: Iterable[TensorSlice]) -> None:
        """Take further pieces in.

        Raises:
            BadManifest: two pieces of a tensor disagree about its shape, type or kind.
        """
        for piece in pieces:
            if piece.kind == "local":
                continue
            described = (piece.global_shape, piece.dtype, piece.kind)
            if self._shapes.setdefault(piece.name, described) != described:
                raise BadManifest(f"{piece.name}: its pieces disagree about shape, dtype or kind")
            if piece.start is not None and piece.stop is not None:
                self._runs.setdefault(piece.name, set()).add((piece.start, piece.stop))
            elif piece.offsets is not None and piece.shape is not None:
                box = tuple((offset, offset + length) for offset, length in zip(piece.offsets, piece.shape, strict=True))
                self._boxes.setdefault(piece.name, set()).add(box)

    def gaps(self) -> list[Gap]:
        """Return one missing box of each tensor that is not covered, by name."""
        found = ((name, self._missing(name, shape)) for name, (shape, _, _) in sorted(self._shapes.items()))
        return [Gap(name, box) for name, box in found if box is not None]

    def _missing(self, name: str, shape: Sequence[int]) -> Box | None:
        runs = _joined(self._runs.get(name, ()))
        whole = math.prod(shape)
        if not whole or runs == [(0, whole)]:
            return None
        boxes = set(self._boxes.get(name, ()))
        for start, stop in runs:
            boxes.update(run_boxes(shape, start, stop))
        return missing_box([(0, length) for length in shape], list(boxes))


def gaps(pieces: Iterable[TensorSlice]) -> list[Gap]:
    """Return one missing box of each tensor that `pieces` do not cover, by name.

    Raises:
        BadManifest: two pieces of a tensor disagree about its shape, type or kind.
    """
    coverage = Coverage()
    coverage.add(pieces)
    return coverage.gaps()


def _joined(runs: Iterable[Span]) -> list[Span]:
    """The same elements in runs that do not touch one another, in order."""
    joined: list[Span] = []
    for start, stop in sorted(runs):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        elif start < stop:
            joined.append((start, stop))
    return joined


def run_boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[Box]:
    """Yield boxes that together are the elements start … stop-1 of a tensor, in row-major order: at most two a dimension."""
    if start >= stop:
        return
    if not shape:
        yield ()
        return
    length, inner = shape[0], shape[1:]
    rest: Box = tuple((0, each) for each in inner)
    size = math.prod(inner)
    first, last = -(-start // size), stop // size  # whole rows
    if first > last:  # within one row
        yield from (((last, last + 1), *box) for box in run_boxes(inner, start - last * size, stop - last * size))
        return
    if start < first * size:
        yield from (((first - 1, first), *box) for box in run_boxes(inner, start - (first - 1) * size, size))
    if first < last:
        yield ((first, min(last, length)), *rest)
    if last * size < stop:
        yield from (((last, last + 1), *box) for box in run_boxes(inner, 0, stop - last * size))


def missing_box(whole: Sequence[Span], boxes: Sequence[Box]) -> Box | None:
    """Return a box inside `whole` that none of `boxes` touches, or None: together they cover it.

    Raises:
        BadManifest: the boxes overlap in more ways than are looked at. Those of a mesh of ranks do not: they form a grid.
    """
    solid = [box for box in boxes if all(first < last for first, last in box)]
    return _Search().hole(tuple(whole), solid)


class _Search:
    def __init__(self) -> None:
        self._slabs = 0

    def hole(self, whole: Box, boxes: Sequence[Box]) -> Box | None:
        """Cut the first dimension where a box begins or ends: between two cuts all boxes look alike, so the other dimensions decide."""
        if whole in boxes:
            return None
        if not boxes:
            return whole
        (low, high), inner = whole[0], whole[1:]
        cuts = sorted({low, high, *(edge for box in boxes for edge in box[0] if low < edge < high)})
        self._slabs += len(cuts)
        if self._slabs > MAX_SLABS:
            raise BadManifest(f"the pieces of a tensor overlap in more than {MAX_SLABS} ways")
        begins: dict[int, list[Box]] = {}
        for box in boxes:
            begins.setdefault(max(low, box[0][0]), []).append(box)
        here: list[Box] = []
        for start, stop in pairwise(cuts):
            here = [box for box in here if box[0][1] > start] + begins.get(start, [])
            found = self.hole(inner, list({box[1:] for box in here}))
            if found is not None:
                return ((start, stop), *found)
        return None
