"""Room that a job's folder holds back, so that its small files can be written although the disk is full. Effects: one file.

Records of processes, the status and a request to stop are a few KiB, and each replaces an older one. So the room is let go for the moment
of a write, and taken again at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = 256 << 10
_LEAST = 4 << 10
_BLOCK = 512
"""The unit of st_blocks, whatever the file system."""


class Reserve:
    """The file that takes the room. It is there while somebody is in charge of the job."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size

    def open(self) -> None:
        """Begin to hold room back: all of it, or as much as there is."""
        with suppress(OSError):
            self._path.touch()
        self.refill()

    def close(self) -> None:
        """Give the room back. Where that fails, as on a disk that is read-only by now, the job's end is not lost for it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def refill(self) -> None:
        """Take what is missing, if somebody holds room back here. A disk that has no room is tried again by the next call."""
        with suppress(OSError):
            if self._path.stat().st_blocks * _BLOCK < self._size:
                self._take()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let go of the room while the block runs."""
        with suppress(OSError):
            os.truncate(self._path, 0)
        try:
            yield
        finally:
            self.refill()

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            size = self._size
            while size >= _LEAST:
                with suppress(OSError):
                    os.posix_fallocate(descriptor, 0, size)
                    return
                size //= 2
        finally:
            os.close(descriptor)
