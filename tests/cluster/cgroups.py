"""The cgroups that hold every process of the cluster: its daemons and its pods.

A process cannot leave them, so what is in them is the cluster's, whoever started it and whatever was recorded. Both
layouts are served: version 1, a tree for every controller, and version 2, one tree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.layout import NAME, NODES

SYSTEM = f"{NAME}/system"
UNIFIED = Path("/sys/fs/cgroup")
# Version 2: what the kubelet wants to set limits with.
CONTROLLERS = "+cpu +cpuset +memory +pids"


def trees() -> list[Path]:
    """The root of every mounted tree that limits something: the one of version 2, or all of version 1."""
    if UNIFIED in _mounted("cgroup2"):
        return [UNIFIED]
    return _mounted("cgroup")


def _mounted(kind: str) -> list[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    # A controller may be mounted twice: a set of real paths has it once.
    return sorted({Path(fields[1]).resolve() for fields in mounts if fields[2] == kind})


def create() -> None:
    """Make the cluster's cgroup, one in it for the daemons, and one for every node's pods."""
    for tree in trees():
        for name in (NAME, SYSTEM, *(node.cgroup for node in NODES)):
            folder = tree / name
            _enable(folder.parent)
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)


def _enable(parent: Path) -> None:
    """Version 2: let the children have controllers."""
    control = parent / "cgroup.subtree_control"
    if control.exists():
        control.write_text(CONTROLLERS)


def _inherit_cpuset(folder: Path) -> None:
    """Version 1: a new cpuset is empty, and takes no process until it is filled."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        if file.exists() and not (folder / "cgroup.subtree_control").exists() and not file.read_text().strip():
            file.write_text((folder.parent / name).read_text())


def entering(argv: list[str]) -> list[str]:
    """The same program, started inside the daemons' cgroup from its first moment."""
    script = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'
    files = [str(tree / SYSTEM / "cgroup.procs") for tree in trees()]
    return ["/bin/sh", "-ec", script, "sh", *files, "--", *argv]


def _folders() -> Iterator[Path]:
    """Every cgroup of the cluster in every tree, the inner ones first.

    Beside the trees of version 1 one of version 2 may be mounted: runc makes the pods' cgroups there too.
    """
    for tree in {*trees(), *_mounted("cgroup2")}:
        for folder, _, _ in os.walk(tree / NAME, topdown=False):
            yield Path(folder)


def members() -> set[int]:
    """The ids of all the cluster's processes."""
    found: set[int] = set()
    for folder in _folders():
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return found - {0, os.getpid()}


def kill_all(seconds: float = 30) -> bool:
    """Kill until nobody is left; whether that was reached."""
    end = time.monotonic() + seconds
    while found := members():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def remove(seconds: float = 10) -> bool:
    """Remove the empty cgroups; whether none is left."""
    end = time.monotonic() + seconds
    while found := list(_folders()):
        for folder in found:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
