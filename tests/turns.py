"""Lanes that run side by side let a test have the machine to itself where it measures how fast something goes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine, alone or with others. Who waits to be alone is overtaken by nobody: all pass a gate, which it holds meanwhile."""
    with ExitStack() as stack:
        machine = stack.enter_context(_opened(folder / "machine.lock"))
        with _opened(folder / "gate.lock") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Its descriptor, whose lock goes with it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was forked meanwhile has the descriptor, too
        os.close(descriptor)
