"""Finds and ends what a life leaves behind outside its process group: daemons, and helpers with a session of their own. Effects: /proc,
signals, the kernel's table of this process's children.

Every process of a life inherits MARK with the life's own value. Whoever takes it out of its environment is found only if the agent
has become the parent of orphans (`adopt`), and only once it is one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import suppress

from trainingjob_api import procfs

MARK = "WORKER_LIFE"
"""The variable that says which life a process belongs to. Not named as the contract's are: an agent keeps those from its children."""

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 10
"""Who forks while it is being killed is looked for again."""


class _Children:
    """The agent's own children, as far as they are lives, and whether orphans become its children."""

    def __init__(self) -> None:
        self.lives: dict[int, str] = {}
        """Process id -> mark."""
        self.adopts = False
        self.looking = threading.Lock()


_children = _Children()


def adopt() -> None:
    """Make this process the parent of whatever its descendants leave behind. `reap` has to be called at every SIGCHLD from then on."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        _children.adopts = True


def reap() -> None:
    """Take leave of orphans that have ended. Lives are waited for by whoever started them."""
    with suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None and found.si_pid not in _children.lives:
            os.waitpid(found.si_pid, os.WNOHANG)


def beginning() -> threading.Lock:
    """Hold this from before a life is started until it is `born`: it would be taken for an orphan."""
    return _children.looking


def born(pid: int, mark: str) -> None:
    """A life has begun."""
    _children.lives[pid] = mark


def buried(pid: int) -> None:
    """A life has been waited for."""
    _children.lives.pop(pid, None)


def end_left_behind(mark: str) -> None:
    """Kill every process that still bears `mark`, and every orphan that belongs to no other life.

    It reads all of /proc, which takes milliseconds: call it in a thread.
    """
    for _ in range(_ROUNDS):
        with _children.looking:
            found = [pid for pid in procfs.pids() if _is_left_behind(pid, mark)]
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        if not found:
            return


def group_lives(group: int) -> bool:
    """A process of that group has not ended."""
    stats = (procfs.stat(pid) for pid in procfs.pids())
    return any(stat is not None and stat.group == group and stat.is_alive() for stat in stats)


def _is_left_behind(pid: int, mark: str) -> bool:
    stat = procfs.stat(pid)
    if stat is None or not stat.is_alive() or pid in _children.lives or pid == os.getpid():
        return False
    found = _mark(pid)
    if found == mark:
        return True
    orphan = _children.adopts and stat.parent == os.getpid()
    others = set(_children.lives.values()) - {mark}
    return orphan and (found not in others if found else not others)


def _mark(pid: int) -> str:
    """The life that a process says it belongs to; "" if it says nothing, or is another user's."""
    needle = f"{MARK}=".encode()
    own = (variable for variable in procfs.environment(pid) if variable.startswith(needle))
    return next((variable[len(needle) :].decode(errors="replace") for variable in own), "")
