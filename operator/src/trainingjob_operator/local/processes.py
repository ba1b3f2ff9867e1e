"""What the kernel says about processes, from /proc, and how one is watched and ended.

Effects: reads /proc, sends signals. It must not know what a job is. A process is named by pid, start time and boot: a
reused pid is another process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "LOCAL_POD_UID"
"""The variable that every process of a pod inherits: by it a pod is found whose pid was never written down.
It does not begin as the contract's names do, since an agent keeps those from its children."""

_PROC = Path("/proc")
_STATE, _SESSION, _START = 0, 3, 19
"""Columns of /proc/<pid>/stat after the name."""


def boot_id() -> str:
    """Names this boot of the machine: start times count from it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the living process `pid` began, in clock ticks since boot; None if there is none (a zombie does not live)."""
    columns = _stat(pid)
    if columns is None or columns[_STATE] in ("Z", "X"):
        return None
    return int(columns[_START])


def is_stopped(pid: int) -> bool:
    """Return whether the process is stopped, as by Ctrl-Z."""
    columns = _stat(pid)
    return columns is not None and columns[_STATE] == "T"


def marked(*uids: str) -> list[int]:
    """The living processes with MARK= one of `uids` in their environment, the eldest first."""
    needles = {f"{MARK}={uid}".encode() for uid in uids}
    found = []
    for pid in _pids() if needles else ():
        with suppress(OSError):
            if not needles.isdisjoint((_PROC / str(pid) / "environ").read_bytes().split(b"\0")):
                began = start_time(pid)
                if began is not None:
                    found.append((began, pid))
    return [pid for _, pid in sorted(found)]


def in_session(leader: int) -> list[int]:
    """The living processes of the session that `leader` began."""
    return [pid for pid in _pids() if (columns := _stat(pid)) and int(columns[_SESSION]) == leader and columns[_STATE] not in ("Z", "X")]


def send(pid: int, began: int, number: signal.Signals) -> None:
    """Send a signal to `pid` if it is still the process that began then: the descriptor names the process, not the number."""
    with suppress(ProcessLookupError, OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if start_time(pid) == began:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def kill_all(uid: str, leader: int | None, leader_began: int | None) -> int:
    """Kill every process of a pod: those marked with its uid, and those of its session. Returns how many there were.

    A session's number is not used while its leader's pid belongs to another process.
    """
    targets = set(marked(uid))
    if leader is not None and start_time(leader) in (None, leader_began):
        targets.update(in_session(leader))
    targets.discard(os.getpid())
    for pid in targets:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(targets)


def _pids() -> Iterator[int]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - a thousand Paths a second would be made for nothing
        if name.isdigit():
            yield int(name)


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
