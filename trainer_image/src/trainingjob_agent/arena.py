"""Memory that outlives training processes: the snapshot arena of a process slot, and read-only copies of shards. Effects: memory.

Everything is a memfd, so nothing is limited by /dev/shm and nothing is left behind when the agent dies. The training process maps
it through `/proc/<agent>/fd/<n>`. A buffer whose upload has not ended is lent as busy: a new life of the process must not write it
before that, and gets no other one in its place, or a store that hangs would cost more memory with every life.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from trainingjob_api.contract.channel import Arena

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14
_CHUNK = 32 << 20  # mmap.madvise holds the interpreter's lock: a larger piece would silence the agent


@dataclass
class Buffer:
    """One buffer of the arena."""

    offset: int
    bytes: int
    memory: mmap.mmap
    uploads: int = 0
    """Uploads that read from it right now."""
    waiting: list[Callable[[], None]] = field(default_factory=list)
    """Called once when there are none any more."""


@dataclass
class _File:
    descriptor: int
    bytes: int
    buffers: list[Buffer] = field(default_factory=list)


@dataclass(frozen=True)
class Lease:
    """The buffers one life of a training process may write."""

    arena: Arena
    buffers: tuple[Buffer, ...]

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Keep a buffer busy while something reads it.

        Raises:
            ValueError: there is no such buffer.
        """
        buffer = self._buffer(number)
        buffer.uploads += 1
        try:
            yield
        finally:
            buffer.uploads -= 1
            while buffer.uploads == 0 and buffer.waiting:
                buffer.waiting.pop()()

    def when_free(self, number: int, call: Callable[[], None]) -> None:
        """Call `call` once nothing reads the buffer any more, at once if nothing does.

        Raises:
            ValueError: there is no such buffer.
        """
        buffer = self._buffer(number)
        if buffer.uploads:
            buffer.waiting.append(call)
        else:
            call()

    def view(self, number: int, length: int) -> memoryview:
        """The first `length` bytes of a buffer.

        Raises:
            ValueError: there is no such buffer, or it is shorter.
        """
        buffer = self._buffer(number)
        if not 0 < length <= buffer.bytes:
            raise ValueError(f"buffer {number} with {length} bytes is not in an arena of {len(self.buffers)} x {self.arena.bytes}")
        return memoryview(buffer.memory)[:length]

    def _buffer(self, number: int) -> Buffer:
        index = number - self.arena.first
        if not 0 <= index < len(self.buffers):
            raise ValueError(f"buffer {number} is not in an arena of {len(self.buffers)} from {self.arena.first} on")
        return self.buffers[index]


class ArenaOwner:
    """The arena of one process slot, reused by the lives of its process as long as it is big enough."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: _File | None = None
        self._retired: list[_File] = []
        self._sweeping = threading.Lock()
        self._leasing = threading.Lock()
        """A life may end while memory is made for it, and the next one asks: what both get must not overlap."""
        self._closed = False

    def lease(self, size: int, count: int, first: int = 0) -> Lease:
        """`count` prefaulted buffers of at least `size` bytes, numbered from `first` on. Slow for fresh memory: call it in a thread.

        Memory that is large enough is lent again, also while it is busy. Smaller memory is given back as soon as nothing reads it.
        Any thread: one that asks meanwhile waits.

        Raises:
            ValueError: size or count is not positive.
            OSError: there is no memory for it.
        """
        if size <= 0 or count <= 0:
            raise ValueError(f"an arena of {count} buffers of {size} bytes makes no sense")
        try:
            with self._leasing:
                return self._lease(size, count, first)
        finally:
            self._retire_if_closed()

    def close(self) -> None:
        """Give all memory back that no upload reads from. Does not wait: memory that is being made is given back once it is there."""
        self._closed = True
        self._retire_if_closed()

    def _lease(self, size: int, count: int, first: int) -> Lease:
        self._sweep()
        if self._file is None or self._file.bytes < size:
            self._retire()
            self._file = _File(os.memfd_create(f"arena-{self._name}"), -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        file = self._file
        while len(file.buffers) < count:
            _grow(file)
        chosen = tuple(sorted(file.buffers, key=lambda buffer: buffer.uploads)[:count])
        path = f"/proc/{os.getpid()}/fd/{file.descriptor}"
        busy = tuple(first + index for index, buffer in enumerate(chosen) if buffer.uploads)
        offsets = tuple(buffer.offset for buffer in chosen)
        return Lease(Arena(path=path, offsets=offsets, bytes=file.bytes, first=first, busy=busy), chosen)

    def _retire_if_closed(self) -> None:
        """Whoever holds the lock comes here after it: one of both sees that it is closed."""
        if self._closed and self._leasing.acquire(blocking=False):
            try:
                self._retire()
            finally:
                self._leasing.release()

    def _retire(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._retired.append(file)
            for buffer in file.buffers:
                buffer.waiting.append(self._sweep)
        self._sweep()

    def _sweep(self) -> None:
        with self._sweeping:
            for file in [file for file in self._retired if not any(buffer.uploads for buffer in file.buffers)]:
                self._retired.remove(file)  # the last reference to a mapping unmaps it
                os.close(file.descriptor)


def _grow(file: _File) -> Buffer:
    offset = len(file.buffers) * file.bytes
    os.ftruncate(file.descriptor, offset + file.bytes)
    memory = mmap.mmap(file.descriptor, file.bytes, offset=offset)
    prefault(memory)
    buffer = Buffer(offset, file.bytes, memory)
    file.buffers.append(buffer)
    return buffer


def prefault(memory: mmap.mmap, begin: int = 0, size: int | None = None) -> None:
    """Touch every page of memory whose content does not matter: page faults, not copying, are what makes a first snapshot slow.

    Each mapping has faults of its own, so the training process does it again in its own.

    Args:
        memory: a shared mapping.
        begin: first byte, at the beginning of a page.
        size: bytes; None: to the end.
    """
    end = len(memory) if size is None else begin + size
    for start in range(begin, end, _CHUNK):
        length = min(_CHUNK, end - start)
        try:
            memory.madvise(_POPULATE_WRITE, start, length)
        except OSError:
            memory[start : start + length] = bytes(length)


class SharedFiles:
    """Whole objects in memfds, for a training process to read."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def add(self, name: str, pieces: Iterable[bytes | memoryview]) -> str:
        """Keep an object; the path at which the training process opens it.

        Raises:
            OSError: there is no memory for it.
        """
        descriptor = os.memfd_create(f"shard-{name}")
        self._descriptors.append(descriptor)
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    def close(self) -> None:
        """Forget all of them; who has one mapped keeps it."""
        while self._descriptors:
            os.close(self._descriptors.pop())
