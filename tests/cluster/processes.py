"""The cluster's daemons: each is started with a log file and a record, and only what is recorded is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import cgroups
from cluster.commands import Failed, path
from cluster.layout import LOGS, STATE

RECORDS = STATE / "run"


@dataclass(frozen=True)
class Process:
    """A process that was started: an id comes back after a while, an id with a start time does not."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was, with that boot's id; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold spaces.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot}/{fields[18]}"


def start(name: str, argv: Sequence[object], environ: dict[str, str] | None = None) -> Process:
    """Start a daemon, in the cluster's cgroup and a session of its own."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            cgroups.entering([str(word) for word in argv]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            close_fds=True,
            cwd="/",
            env={"PATH": path(), "HOME": "/root", **(environ or {})},
        )
    process = Process(name, child.pid, _start_time(child.pid) or "")
    # It lives on after this program: nothing here waits for it.
    child.returncode = 0
    (RECORDS / f"{name}.json").write_text(json.dumps({"pid": process.pid, "started": process.started}))
    return process


def recorded() -> list[Process]:
    """Every daemon that was started and not stopped on purpose."""
    found = []
    for file in sorted(RECORDS.glob("*.json")):
        with contextlib.suppress(ValueError, KeyError):
            record = json.loads(file.read_text())
            found.append(Process(file.stem, record["pid"], record["started"]))
    return found


def lookup(name: str) -> Process:
    """The daemon of that name.

    Raises:
        Failed: none was started.
    """
    for process in recorded():
        if process.name == name:
            return process
    raise Failed(f"no process is recorded as {name}")


def stop(process: Process, seconds: float = 5) -> None:
    """End a daemon: ask first, then kill; its record goes too."""
    end = time.monotonic() + seconds
    wanted = signal.SIGTERM
    while process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, wanted)
        if time.monotonic() > end:
            wanted = signal.SIGKILL
        time.sleep(0.05)
    (RECORDS / f"{process.name}.json").unlink(missing_ok=True)


def must_run(*processes: Process) -> None:
    """See that daemons have not ended by themselves.

    Raises:
        Failed: one has; the end of its log is in the message.
    """
    for process in processes:
        if not process.alive:
            lines = (LOGS / f"{process.name}.log").read_text(errors="replace").splitlines()[-15:]
            raise Failed(f"{process.name} has ended by itself:\n  " + "\n  ".join(lines))
