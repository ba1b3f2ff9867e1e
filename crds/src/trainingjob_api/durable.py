"""What every writer of files needs: that they survive the loss of power, and that a full disk is known. Effects: the file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says of a disk, or a quota, that is full."""


def is_full(error: BaseException) -> bool:
    """Return whether the error says that the disk is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def flush_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk: a file that was made, renamed or removed there stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
