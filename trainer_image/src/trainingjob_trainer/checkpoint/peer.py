"""Brings all ranks of a generation to one state. Effects: collectives, the training state.

The source's state is copied by everybody whose own differs. Who has the same bits already takes part in the collectives and
keeps its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from trainingjob_api.storage.manifest import Position, parse_position
from trainingjob_trainer.checkpoint.flat import listed, read_bytes, write_bytes
from trainingjob_trainer.checkpoint.identity import fingerprint, samples_of
from trainingjob_trainer.checkpoint.shares import chunks
from trainingjob_trainer.checkpoint.state import TrainingState
from trainingjob_trainer.transport.port import Interrupted, Pending, Transport

CHUNK_BYTES = 16 << 20
_WORD = 16


class LayoutError(ValueError):
    """Two ranks hold models of different names, shapes or types."""


def synchronise(state: TrainingState, position: Position, transport: Transport, rank: int, world: int, source: int) -> bool:
    """Make every rank's state the source's. All ranks call it; `position` is used at the source.

    Returns:
        Whether anything had to be copied.

    Raises:
        Interrupted: a peer is lost. A state that was being copied is dirty, others are what they were.
        LayoutError: the ranks do not run the same model, or do not see the same data and parameters.
    """
    device = next(state.model.parameters()).device
    made_of = torch.frombuffer(bytearray(fingerprint(position)), dtype=torch.uint8)
    rows = _exchange(torch.cat([_identity(state), _layout(state), made_of]).to(device), transport, world)
    if any(not torch.equal(row[_WORD : 2 * _WORD], rows[source][_WORD : 2 * _WORD]) for row in rows):
        raise LayoutError("spec.training.task: the workers do not build the same model; a task must build the same one everywhere")
    _compare_data([bytes(row[2 * _WORD :].tolist()) for row in rows], source)
    assert bool(rows[source][:_WORD].any()), "the source of a generation holds a state"
    same = torch.equal(rows[rank][:_WORD], rows[source][:_WORD])
    if all(torch.equal(row[:_WORD], rows[source][:_WORD]) for row in rows):
        return False
    attempt, standing = _broadcast_position(state, position, transport, device, rank, source)
    if same:
        _copy(state, transport, device, rank, source, keep=True)
    else:
        with state.changing():
            _copy(state, transport, device, rank, source, keep=False)
            state.adopt(standing, attempt)
    return True


def _compare_data(prints: Sequence[bytes], source: int) -> None:
    for rank, found in enumerate(prints):
        if found != prints[source]:
            ours, theirs = samples_of(prints[source]), samples_of(found)
            words = f"{ours} training samples, rank {rank} has {theirs}" if ours != theirs else f"other data or parameters than rank {rank}"
            raise LayoutError(f"spec.training.task: rank {source} has {words}; every worker must see the same, while a job runs and after")


def _copy(state: TrainingState, transport: Transport, device: torch.device, rank: int, source: int, *, keep: bool) -> None:
    named = listed(state.tensors())
    extents = [each.extent for each in named]
    total = sum(elements * item for elements, item in extents)
    buffer = torch.empty(min(total + _WORD, CHUNK_BYTES), dtype=torch.uint8, device=device)
    for run in chunks(extents, len(buffer)):
        sizes = [(stop - start) * extents[index].item for index, start, stop in run]
        part = buffer[: sum(sizes)]
        if rank == source:
            for piece, place in zip(run, torch.split(part, sizes), strict=True):
                place.copy_(read_bytes(named[piece.number].tensor, piece.start, piece.stop))
        _settle(transport, [transport.broadcast(part, source)])
        if not keep:
            for piece, place in zip(run, torch.split(part, sizes), strict=True):
                write_bytes(named[piece.number].tensor, piece.start, piece.stop, place)


def _broadcast_position(
    state: TrainingState, position: Position, transport: Transport, device: torch.device, rank: int, source: int
) -> tuple[int, Position]:
    text = position.model_dump_json().encode() if rank == source else b""
    numbers = torch.tensor([state.attempt, len(text)], dtype=torch.int64, device=device)
    _settle(transport, [transport.broadcast(numbers, source)])
    attempt, length = numbers.tolist()
    data = torch.frombuffer(bytearray(text or bytes(length)), dtype=torch.uint8).to(device)
    _settle(transport, [transport.broadcast(data, source)])
    return attempt, parse_position(bytes(data.tolist()).decode())


def _exchange(row: Tensor, transport: Transport, world: int) -> Tensor:
    rows = row.new_zeros(world, len(row))
    _settle(transport, [transport.all_gather(rows, row)])
    return rows


def _identity(state: TrainingState) -> Tensor:
    """Zeros for no state, else a hash of (attempt, step, digest)."""
    if state.dirty:
        return torch.zeros(_WORD, dtype=torch.uint8)
    return _hash(f"{state.attempt} {state.step} {state.digest}")


def _layout(state: TrainingState) -> Tensor:
    return _hash("\n".join(f"{name} {tensor.dtype} {tuple(tensor.shape)}" for name, tensor in state.tensors().items()))


def _hash(text: str) -> Tensor:
    return torch.frombuffer(bytearray(hashlib.blake2b(text.encode(), digest_size=_WORD).digest()), dtype=torch.uint8)


def _settle(transport: Transport, works: Sequence[Pending]) -> None:
    if not transport.settle(works):
        raise Interrupted
