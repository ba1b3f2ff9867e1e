"""A small disk of the test's own, which can be filled. It needs the right to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SYS_ADMIN = 1 << 21
_PIECE = bytes(4096)


class Disk:
    """A tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hog = path / "hog"

    def fill(self) -> None:
        """Take all the room that is left, to the last page."""
        with self._hog.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(_PIECE)

    def make_room(self) -> None:
        """Give it back."""
        self._hog.unlink()

    def free(self) -> int:
        """Bytes that are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@contextmanager
def disk(path: Path, mebibytes: int) -> Iterator[Disk]:
    """A disk at `path` while the block runs."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(path)], check=True, capture_output=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def is_possible() -> bool:
    """This process may mount."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & _SYS_ADMIN)
