"""The snapshot arena: memory of the agent that this process writes its shards into. Effects: shared memory, the channel.

Writing a snapshot is a copy into warm memory; hashing and uploading it is the agent's work, while training goes on.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from trainingjob_agent.arena import prefault
from trainingjob_api.contract.channel import ExportModel, Snapshot
from trainingjob_api.contract.messages import SaveId
from trainingjob_api.storage.layout import shard_name
from trainingjob_api.storage.manifest import Position, slices_json
from trainingjob_trainer.channel import Channel, Superseded
from trainingjob_trainer.checkpoint.flat import listed
from trainingjob_trainer.checkpoint.shard import plan, write
from trainingjob_trainer.checkpoint.shares import Piece, shares
from trainingjob_trainer.checkpoint.state import TrainingState

BUFFERS = 2
SLACK_BYTES = 1 << 20
COPIERS = min(4, os.cpu_count() or 1)
"""Threads that copy. The loop waits meanwhile, and one thread does not fill a machine's memory bandwidth."""


class SnapshotArena:
    """Buffers that each hold this process's shard of one save, or the exported model.

    Args:
        channel: to the agent; asked for the memory at once.
        state: what will be saved; each buffer can hold all of it, should this rank be the only one.
    """

    def __init__(self, channel: Channel, state: TrainingState) -> None:
        self._channel = channel
        self._state = state
        named = listed(state.tensors())
        whole = plan(named, [Piece(index, 0, each.tensor.numel()) for index, each in enumerate(named)], shard_name(0)).length
        model = sum(value.nbytes for value in state.model.state_dict().values() if isinstance(value, Tensor))
        arena = channel.need_arena(max(whole, model) + SLACK_BYTES, BUFFERS)
        descriptor = os.open(arena.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            mapping = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        for offset in arena.offsets:
            prefault(mapping, offset, arena.bytes)
        memory = torch.frombuffer(mapping, dtype=torch.uint8)
        self._buffers = [memory[offset : offset + arena.bytes] for offset in arena.offsets]
        on_host = all(each.tensor.device.type == "cpu" for each in named)
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="snapshot") if on_host else None

    def has_room(self) -> bool:
        """Return whether a snapshot would find a free buffer."""
        return self._free() is not None

    def snapshot(self, save: SaveId, rank: int, world: int, position: Position, superseded: Callable[[], bool]) -> int:
        """Write this rank's share and tell the agent; the buffer in which it lies.

        Waits for a free buffer if storage is slower than the saves.

        Raises:
            Superseded: newer orders came while it waited.
        """
        buffer = self._take(superseded)
        named = listed(self._state.tensors())
        layout = plan(named, shares([each.extent for each in named], world, rank), shard_name(rank))
        write(layout, named, self._buffers[buffer], self._copiers)
        entries = slices_json(layout.slices)
        self._channel.occupy(buffer)
        self._channel.send(
            Snapshot(save=save, rank=rank, buffer=buffer, length=layout.length, entries=entries, position=position.model_dump_json())
        )
        return buffer

    def export(self, save: SaveId, model: bytes, metadata: str, result: dict[str, float], superseded: Callable[[], bool]) -> int:
        """Hand the exported model to the agent; the buffer in which it lies.

        Raises:
            Superseded: newer orders came while it waited for a buffer.
        """
        buffer = self._take(superseded)
        self._buffers[buffer][: len(model)].copy_(torch.frombuffer(bytearray(model), dtype=torch.uint8))
        self._channel.occupy(buffer)
        self._channel.send(
            ExportModel(generation=save.generation, step=save.step, buffer=buffer, length=len(model), metadata=metadata, result=result)
        )
        return buffer

    def _free(self) -> int | None:
        return next((buffer for buffer in range(len(self._buffers)) if self._channel.free(buffer)), None)

    def _take(self, superseded: Callable[[], bool]) -> int:
        self._channel.wait(lambda: self.has_room() or superseded())
        buffer = self._free()
        if buffer is None:
            raise Superseded
        return buffer
