"""What Linux says about processes, in /proc. Effects: reads /proc; it changes nothing and knows no job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class ProcessStat(NamedTuple):
    """The columns of /proc/<pid>/stat that are used."""

    state: str
    parent: int
    group: int
    session: int
    start: int
    """Clock ticks since boot. With the boot's id it tells two processes of one pid apart."""

    def is_alive(self) -> bool:
        """Return whether it can still do something: a zombie cannot."""
        return self.state not in ("Z", "X")


def boot_id() -> str:
    """Return the id of this boot of the machine: start times count from it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def pids() -> Iterator[int]:
    """Yield the ids of all processes."""
    for name in os.listdir(_PROC):  # noqa: PTH208 - a thousand Paths a second would be made for nothing
        if name.isdigit():
            yield int(name)


def stat(pid: int) -> ProcessStat | None:
    """Return what /proc says of the process, zombies included; None if there is none of this id."""
    try:
        return parse(_PROC.joinpath(str(pid), "stat").read_bytes())
    except OSError:
        return None


def is_stopped(pid: int) -> bool:
    """Return whether the process is stopped by a signal (SIGSTOP, Ctrl-Z) or a debugger."""
    found = stat(pid)
    return found is not None and found.state in ("T", "t")


def parse(content: bytes) -> ProcessStat:
    """Read the content of /proc/<pid>/stat. The name in it, which the process chooses, may hold any bytes."""
    columns = content[content.rindex(b")") + 2 :].split()
    return ProcessStat(columns[0].decode(), int(columns[1]), int(columns[2]), int(columns[3]), int(columns[19]))


def environment(pid: int) -> list[bytes]:
    """Return the variables that the process was started with, as NAME=value; none if it is gone, or another user's."""
    try:
        return _PROC.joinpath(str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return []
