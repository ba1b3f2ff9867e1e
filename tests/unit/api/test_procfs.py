"""What /proc says is read whatever a process calls itself, and a process that is gone is no error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from trainingjob_api import procfs
from trainingjob_api.procfs import ProcessStat

COLUMNS = b" S 7 8 9 34816 9 4194304 125 0 0 0 0 0 0 0 20 0 1 0 4242 3133440 238"
NAMED = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) Z \\xff', 0, 0, 0); print(flush=True); sys.stdin.read()"
"""A process that calls itself what is no text, and looks like the end of a name and a zombie."""


@pytest.mark.parametrize("name", [b"python", b"a b", b"a) Z 1 1", b"\xff\xfe"])
def test_a_name_is_anything(name: bytes) -> None:
    assert procfs.parse(b"4321 (" + name + b")" + COLUMNS) == ProcessStat(state="S", parent=7, group=8, session=9, start=4242)


@pytest.mark.parametrize(("state", "alive"), [("R", True), ("S", True), ("T", True), ("Z", False), ("X", False)])
def test_a_zombie_is_not_alive(state: str, alive: bool) -> None:
    assert ProcessStat(state, 1, 1, 1, 1).is_alive() is alive


def test_a_process_of_an_odd_name_is_seen_stopped_and_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"MARK": "1"})
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    found = procfs.stat(process.pid)
    assert found is not None
    assert (found.parent, found.is_alive()) == (os.getpid(), True)
    assert process.pid in procfs.pids()
    assert b"MARK=1" in procfs.environment(process.pid)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert procfs.is_stopped(process.pid)
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert (procfs.stat(process.pid), procfs.environment(process.pid), procfs.is_stopped(process.pid)) == (None, [], False)
