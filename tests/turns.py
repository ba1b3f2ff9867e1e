"""Lanes that run side by side let tests have the machine to themselves where they measure how fast something goes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """One lane's turns at the machine. All lanes have theirs in the same folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._machine, self._gate = (
            os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for name in ("machine", "gate")
        )
        self._alone = False

    @contextmanager
    def turn(self, *, alone: bool, keep: bool = False) -> Iterator[None]:
        """Have the machine, alone or with others. With `keep` the next turn follows this one: nobody comes between.

        A lane that waits to be alone is overtaken by nobody: all pass a gate, which it holds meanwhile.
        """
        if not (alone and self._alone):
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._alone = alone and keep
            if not self._alone:
                fcntl.flock(self._machine, fcntl.LOCK_UN)
