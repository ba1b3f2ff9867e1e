"""Finds the processes of a pod, and ends them. Effects: reads /proc, sends signals.

It must not know what a job is. A process is named by pid, start time and boot: a reused pid is another process.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from trainingjob_api import procfs

MARK = "LOCAL_POD_UID"
"""The variable that every process of a pod inherits: by it a pod is found whose pid was never written down.
It does not begin as the contract's names do, since an agent keeps those from its children."""


def start_time(pid: int) -> int | None:
    """When the living process `pid` began, in clock ticks since boot; None if there is none (a zombie does not live)."""
    found = procfs.stat(pid)
    return found.start if found is not None and found.is_alive() else None


def marked(*uids: str) -> list[int]:
    """The living processes with MARK= one of `uids` in their environment, the eldest first."""
    needles = {f"{MARK}={uid}".encode() for uid in uids}
    found = []
    for pid in procfs.pids() if needles else ():
        if not needles.isdisjoint(procfs.environment(pid)) and (began := start_time(pid)) is not None:
            found.append((began, pid))
    return [pid for _, pid in sorted(found)]


def in_session(leader: int) -> list[int]:
    """The living processes of the session that `leader` began."""
    return [pid for pid in procfs.pids() if (found := procfs.stat(pid)) and found.session == leader and found.is_alive()]


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
