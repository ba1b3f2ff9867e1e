"""How a batch is cut: into lanes, lanes into micro-batches, lanes onto ranks. Pure.

A lane is the unit to which randomness is keyed. What a lane computes never depends on which rank computes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def share(length: int, parts: int, part: int) -> range:
    """The positions of part `part` when 0 … length-1 is cut in `parts` contiguous parts whose sizes differ by at most one."""
    small, larger = divmod(length, parts)
    start = part * small + min(part, larger)
    return range(start, start + small + (1 if part < larger else 0))


def lanes_of(rank: int, world: int, lanes: int) -> range:
    """The lanes that a rank computes: a contiguous run, in slot order. Empty for some when there are more ranks than lanes."""
    return share(lanes, world, rank)


def rows_per_rank(world: int, lanes: int) -> int:
    """The most lanes that any rank has, and at least one."""
    return max(1, -(-lanes // world))


def row_of_lane(world: int, lanes: int) -> list[int]:
    """Where each lane lies when every rank gives `rows_per_rank` rows, its lanes first, and the rows are laid end to end."""
    height = rows_per_rank(world, lanes)
    return [rank * height + row for rank in range(world) for row in range(len(lanes_of(rank, world, lanes)))]


def piece_count(length: int, lanes: int, size: int | None) -> int:
    """The number of micro-batches of at most `size` samples into which every lane of a batch is cut: as many as the largest needs.

    So all lanes pass through the model as often, which collectives in the model need.
    """
    largest = len(share(length, lanes, 0))
    return -(-largest // size) if size is not None else min(1, largest)


def micro_batches(ids: Tensor, size: int | None, pieces: int | None = None) -> Iterator[Tensor]:
    """The ids in as few pieces of at most `size` as there can be; all at once with None, nothing for no ids.

    With `pieces`, in so many, as long as none is empty. The pieces are of near-equal size: a last piece of one sample would break
    batch normalisation.
    """
    if pieces is None:
        pieces = piece_count(len(ids), 1, size)
    pieces = min(pieces, len(ids))
    for piece in range(pieces):
        positions = share(len(ids), pieces, piece)
        yield ids[positions.start : positions.stop]
