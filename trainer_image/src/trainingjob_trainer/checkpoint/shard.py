"""A shard: a whole safetensors file, written into memory and read back from it. Effects: the memory given.

The format is described in trainingjob_api.storage.front. It is written by hand because the library wants to allocate the whole
file itself, while ours lies in memory that is there already.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import torch
from torch import Tensor

from trainingjob_api.storage.coverage import gaps
from trainingjob_api.storage.front import LENGTH_BYTES, front_bytes, parse_front, write_front
from trainingjob_api.storage.manifest import ITEM_BYTES, Manifest, TensorSlice
from trainingjob_trainer.checkpoint.flat import DTYPES, Named, read_bytes, write_bytes
from trainingjob_trainer.checkpoint.shares import Piece

_RUN_BYTES = 8 << 20


class RestoreError(ValueError):
    """The checkpoint does not fit the task's model."""


class Layout(NamedTuple):
    """Where everything in a shard lies."""

    header: bytes
    """With its length in front: the tensors' bytes begin behind it."""
    slices: tuple[TensorSlice, ...]
    """In file order."""
    numbers: tuple[int, ...]
    """Which of the state's tensors each of them is a slice of."""
    length: int
    """Bytes of the whole file."""


def plan(state: Sequence[Named], pieces: Sequence[Piece], shard: str) -> Layout:
    """The layout of a shard that holds `pieces` of the state. Larger types come first, so that every tensor is aligned."""
    ordered = sorted(pieces, key=lambda piece: (-state[piece.number].extent.item, piece.number))
    slices, offset = [], 0
    for index, start, stop in ordered:
        name, tensor = state[index]
        end = offset + (stop - start) * state[index].extent.item
        shape, dtype = tuple(tensor.shape), state[index].dtype
        slices.append(TensorSlice(name=name, shard=shard, global_shape=shape, dtype=dtype, start=start, stop=stop, begin=offset, end=end))
        offset = end
    front = write_front(slices)
    return Layout(front, tuple(slices), tuple(piece.number for piece in ordered), len(front) + offset)


def write(layout: Layout, state: Sequence[Named], into: Tensor, copiers: Executor | None = None) -> None:
    """Put the file at the beginning of `into` (uint8); with `copiers`, in their threads."""
    begin = len(layout.header)
    into[:begin].copy_(torch.frombuffer(bytearray(layout.header), dtype=torch.uint8))
    runs = list(_runs(layout, state, into[begin:]))
    if copiers is None or len(runs) == 1:
        for run in runs:
            _copy(run)
    else:
        list(copiers.map(_copy, runs))  # the list asks each for its error


def _runs(layout: Layout, state: Sequence[Named], into: Tensor) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What goes where, in runs of about equal work: a large tensor is cut, many small ones are one run."""
    run: list[tuple[Tensor, Tensor]] = []
    size = 0
    for index, piece in zip(layout.numbers, layout.slices, strict=True):
        assert piece.start is not None
        assert piece.stop is not None
        source = read_bytes(state[index].tensor, piece.start, piece.stop)
        for target, part in zip(torch.split(into[piece.begin : piece.end], _RUN_BYTES), torch.split(source, _RUN_BYTES), strict=True):
            run.append((target, part))
            size += len(part)
            if size >= _RUN_BYTES:
                yield run
                run, size = [], 0
    if run:
        yield run


def _copy(run: Sequence[tuple[Tensor, Tensor]]) -> None:
    for target, source in run:
        target.copy_(source)


def map_file(path: str) -> Tensor:
    """A file's bytes, mapped and not copied. Writing to them changes nothing.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return torch.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY), dtype=torch.uint8)
    finally:
        os.close(descriptor)


def restore(manifest: Manifest, files: Mapping[str, str], target: Mapping[str, Tensor]) -> None:
    """Set the tensors of `target` from a checkpoint of any world size.

    Args:
        manifest: what the save holds.
        files: shard name -> path of its bytes, verified.
        target: the state's tensors.

    Raises:
        RestoreError: names, shapes or types differ, or an element is missing.
        BadManifest: a shard is none, or does not list what it holds.
        OSError: a shard cannot be read.
    """
    mapped = {name: map_file(path) for name, path in files.items()}
    fronts = {name: front_bytes(_head(file, LENGTH_BYTES), name) for name, file in mapped.items()}
    pieces = _pieces(manifest, mapped, fronts)
    _compare(manifest.step, pieces, target)
    if missing := gaps(pieces):
        raise RestoreError(f"checkpoint of step {manifest.step}: {missing[0]} is not there")
    data = {name: file[fronts[name] :] for name, file in mapped.items()}
    with torch.no_grad():
        for piece in pieces:
            if piece.shard not in data or piece.end > len(data[piece.shard]):
                raise RestoreError(f"checkpoint of step {manifest.step}: {piece.name} is not in {piece.shard}")
            _place(piece, data[piece.shard][piece.begin : piece.end], target[piece.name])


def _place(piece: TensorSlice, data: Tensor, tensor: Tensor) -> None:
    if piece.start is not None and piece.stop is not None:
        write_bytes(tensor, piece.start, piece.stop, data)
        return
    assert piece.offsets is not None
    assert piece.shape is not None
    box = tuple(slice(offset, offset + length) for offset, length in zip(piece.offsets, piece.shape, strict=True))
    tensor[box].copy_(data.clone().view(tensor.dtype).view(piece.shape))


def _pieces(manifest: Manifest, files: Mapping[str, Tensor], fronts: Mapping[str, int]) -> list[TensorSlice]:
    """All slices of the save, from wherever its writers have listed them."""
    found = list(manifest.tensors)
    for shard in manifest.shards:
        if shard.front_bytes is not None and shard.name in files:
            found += parse_front(_head(files[shard.name], fronts[shard.name]), shard.name, len(files[shard.name]))
    return found


def _head(file: Tensor, length: int) -> bytes:
    return file[:length].numpy().tobytes()


def _compare(step: int, pieces: Sequence[TensorSlice], target: Mapping[str, Tensor]) -> None:
    """Whether the checkpoint is one of this model and this optimizer."""
    there = {piece.name: piece for piece in pieces}
    missing = sorted(name for name, tensor in target.items() if name not in there and tensor.numel())
    surplus = sorted(there.keys() - target.keys())
    before = f"checkpoint of step {step} is of another model or optimizer"
    if missing or surplus:
        word, name = ("has no", missing[0]) if missing else ("has", surplus[0])
        raise RestoreError(f"{before}: it {word} {name}; use the task, parameters and optimizer it was made with, or another storage.uri")
    for name, piece in there.items():
        tensor = target[name]
        found, wanted = (piece.dtype, piece.global_shape), (DTYPES.get(tensor.dtype), tuple(tensor.shape))
        if found != wanted or ITEM_BYTES[piece.dtype] != tensor.element_size():
            raise RestoreError(f"{before}: {name} is {found[0]} {list(found[1])} there and {wanted[0]} {list(wanted[1])} here")
