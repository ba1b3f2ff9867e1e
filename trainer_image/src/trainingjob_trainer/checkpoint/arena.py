"""The snapshot arena: memory of the agent that this process writes its shards into. Effects: shared memory, the channel, one thread.

Writing a snapshot is a copy into warm memory; hashing and uploading it is the agent's work, while training goes on. A buffer is as large as
this rank's share of the state among the ranks of today. When the world shrinks the shares grow, and so do the buffers: beside the steps, in
a thread. Until that is done there is no room.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from trainingjob_agent.arena import prefault
from trainingjob_api.contract.channel import Arena, ExportModel, Snapshot
from trainingjob_api.contract.messages import SaveId
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.storage.layout import shard_name
from trainingjob_api.storage.manifest import Position
from trainingjob_trainer.channel import Channel, Superseded
from trainingjob_trainer.checkpoint.flat import listed
from trainingjob_trainer.checkpoint.shard import plan, write
from trainingjob_trainer.checkpoint.shares import Piece, shares
from trainingjob_trainer.checkpoint.state import TrainingState

logger = logging.getLogger(__name__)

BUFFERS = 2
SLACK_BYTES = 4096
LAST_WORDS_SECONDS = 5.0
COPIERS = min(4, os.cpu_count() or 1)
"""Threads that copy. The loop waits meanwhile, and one thread does not fill a machine's memory bandwidth."""


@dataclass(frozen=True)
class _Buffers:
    """Mapped memory; the numbers are those that the agent knows them by."""

    numbers: range
    memory: tuple[Tensor, ...]
    bytes: int

    def __getitem__(self, number: int) -> Tensor:
        return self.memory[number - self.numbers.start]


_NONE = _Buffers(range(0), (), 0)


class SnapshotArena:
    """Buffers that each hold this process's shard of one save, or the exported model. One thread uses it.

    Args:
        channel: to the agent; asked for the memory at once.
        state: what will be saved.
        world: how many ranks will share it, as far as is known.
    """

    def __init__(self, channel: Channel, state: TrainingState, world: int) -> None:
        self._channel = channel
        self._state = state
        named = listed(state.tensors())
        whole = plan(named, [Piece(index, 0, each.tensor.numel()) for index, each in enumerate(named)], shard_name(0))
        self._header, self._total = len(whole.header), whole.length - len(whole.header)
        on_host = all(each.tensor.device.type == "cpu" for each in named)
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="snapshot") if on_host else None
        self._buffers = _NONE
        self._wanted = (self.share_bytes(world), BUFFERS)
        self._growing = True
        self._wishing = threading.Lock()
        self._grow()

    def share_bytes(self, world: int) -> int:
        """What one rank's shard of the state has at most, among `world` ranks; no rank's header is longer than that of the whole."""
        return -(-self._total // world) + self._header + SLACK_BYTES

    def fit(self, world: int) -> None:
        """Let the buffers be large enough for a rank's share among `world` ranks. Does not wait: there is no room until they are.

        Buffers that are larger already stay as they are.
        """
        self._want(self.share_bytes(world), BUFFERS)

    def settle(self, superseded: Callable[[], bool]) -> None:
        """Wait until the buffers are as large as was asked for.

        Raises:
            Superseded: newer orders came first.
        """
        self._channel.wait(lambda: not self._growing or superseded())
        if self._growing:
            raise Superseded

    def has_room(self, world: int) -> bool:
        """Return whether a snapshot of a rank's share among `world` ranks would find a free buffer that is large enough."""
        return self._free() is not None and self._buffers.bytes >= self.share_bytes(world)

    def rests(self) -> bool:
        """Return whether nothing is being uploaded."""
        return not self._growing and all(self._channel.free(number) for number in self._buffers.numbers)

    def snapshot(self, save: SaveId, rank: int, world: int, position: Position, superseded: Callable[[], bool]) -> int:
        """Write this rank's share and tell the agent; the number of the buffer in which it lies.

        Waits for a free buffer if storage is slower than the saves.

        Raises:
            Superseded: newer orders came while it waited.
        """
        named = listed(self._state.tensors())
        layout = plan(named, shares([each.extent for each in named], world, rank), shard_name(rank))
        buffer = self._take(layout.length, BUFFERS, superseded)
        write(layout, named, self._buffers[buffer], self._copiers)
        self._channel.occupy(buffer)
        self._channel.send(Snapshot(save=save, rank=rank, buffer=buffer, length=layout.length, position=position.model_dump_json()))
        return buffer

    def export(self, save: SaveId, model: bytes, metadata: str, result: dict[str, float], superseded: Callable[[], bool]) -> int:
        """Hand the exported model to the agent; the number of the buffer in which it lies.

        Raises:
            Superseded: newer orders came while it waited for a buffer.
        """
        buffer = self._take(len(model), 1, superseded)
        self._buffers[buffer][: len(model)].copy_(torch.frombuffer(bytearray(model), dtype=torch.uint8))
        self._channel.occupy(buffer)
        self._channel.send(
            ExportModel(generation=save.generation, step=save.step, buffer=buffer, length=len(model), metadata=metadata, result=result)
        )
        return buffer

    def _free(self) -> int | None:
        if self._growing:
            return None
        return next((number for number in self._buffers.numbers if self._channel.free(number)), None)

    def _take(self, size: int, count: int, superseded: Callable[[], bool]) -> int:
        self._want(size, count)
        self._channel.wait(lambda: self._free() is not None or superseded())
        buffer = self._free()
        if buffer is None:
            raise Superseded
        return buffer

    def _want(self, size: int, count: int) -> None:
        with self._wishing:
            if self._growing:
                self._wanted = (max(size, self._wanted[0]), max(count, self._wanted[1]))
            elif size > self._buffers.bytes or count > len(self._buffers.numbers):
                self._wanted, self._growing = (size, count), True
                self._buffers = _NONE  # unmapped: old and new memory are not needed together
                threading.Thread(target=self._grow_beside, name="arena", daemon=True).start()

    def _grow_beside(self) -> None:
        """The thread: without memory nothing would ever be saved, so a failure ends the process, and a new life tries."""
        try:
            self._grow()
        except Exception:
            logger.exception("the agent's snapshot memory cannot be mapped; the process ends, and the next one tries again")
            self._channel.flush(LAST_WORDS_SECONDS)
            os._exit(ExitCode.CRASHED)

    def _grow(self) -> None:
        """Get what is wanted, and again if more is wanted by then. One thread at a time: a later wish starts another."""
        while not self._try_to_grow():
            pass
        self._channel.poke()

    def _try_to_grow(self) -> bool:
        wanted = self._wanted
        buffers = _mapped(self._channel.need_arena(*wanted))
        with self._wishing:
            if self._wanted != wanted:
                return False
            self._buffers, self._growing = buffers, False
            return True


def _mapped(arena: Arena) -> _Buffers:
    """Map the agent's memory; each of its pages is touched."""
    descriptor = os.open(arena.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        mapping = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    for offset in arena.offsets:
        prefault(mapping, offset, arena.bytes)
    memory = torch.frombuffer(mapping, dtype=torch.uint8)
    return _Buffers(
        numbers=range(arena.first, arena.first + len(arena.offsets)),
        memory=tuple(memory[offset : offset + arena.bytes] for offset in arena.offsets),
        bytes=arena.bytes,
    )
