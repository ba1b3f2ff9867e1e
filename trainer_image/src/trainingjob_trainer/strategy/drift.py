"""Whether all ranks hold the same weights: digests that travel in a step's tail, and who differs if they do not. Pure.

The ranks' digests are equal if, and only if, ranks · Σh² = (Σh)² holds for each of their parts: so a sum suffices to see it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from trainingjob_trainer.strategy.buffer_places import bits_of, real_view

EVERY_STEPS = 64
WINDOW_ELEMENTS = 1 << 13
"""Of a tensor, before a save: reading all of a large model would cost as long as the save holds the step up."""
_FIRST_STEPS = 8
_CHUNK_BYTES = 1 << 23
"""Of a tensor that is read at a time."""
_ODD = 0x1E3779B97F4A7C15
_PARTS = 4
"""Of a digest, 16 bits each: the sums of their squares are exact in float64, for more than a thousand ranks."""
WIDTH = 2 * _PARTS
"""Floats in the tail."""
NONE = [0.0] * WIDTH
"""Of a rank that does not compare now, as all others."""


def is_due(step: int) -> bool:
    """Whether the digests travel in this step: early, where mistakes show, and then now and again."""
    return step < _FIRST_STEPS or step % EVERY_STEPS == 0


@torch.no_grad()
def digests(tensors: Mapping[str, Tensor], window: int | None = None) -> Tensor:
    """One number for each tensor: int64, shape (tensors,). Tensors of other bits have, almost surely, another number.

    Args:
        tensors: by name.
        window: look at this one of each tensor's windows of WINDOW_ELEMENTS, counted round and round; None: look at all elements.
    """
    return torch.stack([_sum_of_bits(_flat(tensor, window)) for tensor in tensors.values()])


@torch.no_grad()
def digest(tensor: Tensor) -> Tensor:
    """A number for a tensor's bits and their places in row-major order, int64, whatever its layout; computed where the tensor is."""
    pieces = list[Tensor]()
    begin = 1
    for words in _words(tensor):
        pieces.append(_mixed(words, begin))
        begin += len(words)
    return torch.stack(pieces).sum()


def encode(numbers: Tensor) -> list[float]:
    """Return a rank's part of the sum, WIDTH floats."""
    whole = hashlib.blake2b(numbers.cpu().numpy().tobytes(), digest_size=2 * _PARTS).digest()
    parts = [float(int.from_bytes(whole[2 * index : 2 * index + 2])) for index in range(_PARTS)]
    return [*parts, *(part * part for part in parts)]


def agree(total: Sequence[float], ranks: int) -> bool:
    """Whether all ranks had the same digest, by the sum over them."""
    return all(ranks * square == part * part for part, square in zip(total[:_PARTS], total[_PARTS:], strict=True))


def first_difference(rows: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[str, list[int]] | None:
    """Find the first tensor that is not the same at all ranks, and the ranks at which it is not what it is at most.

    Args:
        rows: every rank's `digests`, in rank order.
        names: of the tensors.
    """
    for index, name in enumerate(names):
        column = [row[index] for row in rows]
        usual = Counter(column).most_common(1)[0][0]  # of equally many, the first rank's
        others = [rank for rank, value in enumerate(column) if value != usual]
        if others:
            return name, others
    return None


def _mixed(words: Tensor, begin: int) -> Tensor:
    """The sum of hashes of the words and their places, counted from `begin`. A sum of bits alone loses signs: two of them cancel out."""
    mixed = torch.arange(begin, begin + len(words), device=words.device).mul_(_ODD).add_(words).mul_(_ODD)
    return mixed.bitwise_xor_(mixed >> 32).sum()


def _flat(tensor: Tensor, window: int | None) -> Tensor:
    if window is None:
        return tensor
    flat = real_view(tensor.detach()).reshape(-1)
    begin = window % max(1, -(-len(flat) // WINDOW_ELEMENTS)) * WINDOW_ELEMENTS
    return flat[begin : begin + WINDOW_ELEMENTS]


def _sum_of_bits(tensor: Tensor) -> Tensor:
    return torch.stack([words.sum(dtype=torch.int64) for words in _words(tensor)]).sum()


def _words(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor's bits in row-major order, a piece at a time: eight bytes each (twenty times as fast), at last the elements that are left.

    How they are cut into words depends on type and shape alone: ranks compare tensors whose layouts in memory may differ.
    """
    bits = bits_of(tensor)
    per_word = 8 // bits.element_size()
    left = bits.new_empty(0)
    for piece in _runs(bits, _CHUNK_BYTES // bits.element_size()):
        run = torch.cat([left, piece]) if len(left) else piece
        whole = len(run) // per_word * per_word
        words, left = run[:whole], run[whole:]
        yield (words.clone() if words.storage_offset() % per_word else words).view(torch.int64)
    yield left


def _runs(bits: Tensor, most: int) -> Iterator[Tensor]:
    """The elements in row-major order, flat and dense: views where the memory allows it, else copies of at most so many."""
    if bits.is_contiguous():
        yield from torch.split(bits.reshape(-1), most)
    elif bits.numel() <= most:
        yield bits.reshape(-1).contiguous()
    else:
        rows = most * len(bits) // bits.numel()
        for part in torch.split(bits, rows) if rows else bits:
            yield from _runs(part, most)
