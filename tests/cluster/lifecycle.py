"""The cluster as a whole: up, down, and how it is. A run that was killed in the middle is healed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import access, addons, cgroups, control_plane, network, node, node_images, processes, tools
from cluster.commands import Failed, run
from cluster.layout import NODES, STATE

# Written last: with it a start was whole, and it says what the cluster was made by.
STAMP = STATE / "stamp"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other call changes the cluster; the lock is on the state folder's parent, so that it leaves nothing."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(STATE.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def up() -> Path:
    """Have a healthy cluster: leave it as it is, or remove what is left of one and start another. Its programs' folder."""
    programs, versitygw = tools.programs(), tools.versitygw()
    stamp = tools.stamp(programs)
    with alone():
        if not healthy(programs, stamp):
            _remove()
            _create(programs, versitygw)
            STAMP.write_text(stamp)
    return programs


def healthy(programs: Path, stamp: str) -> bool:
    """Whether the cluster is the wanted one, and every part of it works; a node that was cut off is connected again."""
    if not STAMP.exists() or STAMP.read_text() != stamp:
        return False
    if not all(process.alive for process in processes.recorded()) or not network.exists():
        return False
    network.heal_all()
    try:
        addons.wait_nodes(programs, seconds=40)
        addons.give_gpus(programs)
        addons.wait_available(programs)
        addons.make_bucket()
    except Failed as broken:
        print(f"the cluster does not work, and is made anew: {broken}", flush=True)
        return False
    return True


def _create(programs: Path, versitygw: Path) -> None:
    """Start everything, each part as soon as what it needs is there."""
    STATE.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        with _step("networks, keys"):
            keys = pool.submit(control_plane.certificates, programs, tools.kubernetes_version())
            cgroups.create()
            network.create()
            keys.result()
        control = control_plane.begin(programs)
        access.write_kubeconfig()
        access.relay_api()
        runtimes = pool.submit(_start_runtimes, programs, versitygw)
        with _step("control plane"):
            control_plane.wait_ready(control)
            control += control_plane.begin_controllers(programs)
        with _step("addons applied"):
            addons.apply(programs)
        with _step("container runtimes, images"):
            runtimes.result()
    with _step("nodes"):
        joined = [process for each in NODES for process in node.join(each, programs)]
        addons.wait_nodes(programs, [*control, *joined])
        addons.give_gpus(programs)
    with _step("DNS, S3"):
        addons.wait_available(programs)
        access.relay_s3(programs)
        addons.make_bucket()
    access.write_environment(programs)


def _start_runtimes(programs: Path, versitygw: Path) -> None:
    for each in NODES:
        node.begin(each)
    own = node_images.pack_own(programs, versitygw)
    for each in NODES:
        node.wait_runtime(each)
    node_images.load(own)


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.1f} s", flush=True)


def down() -> None:
    """Remove every trace of the cluster but the cache."""
    with alone():
        _remove()


def _remove() -> None:
    """Kill what is in the cluster's cgroups, which is all of it, and remove the rest: nobody uses it any more.

    Raises:
        Failed: something cannot be removed.
    """
    for process in processes.recorded():
        if process.alive and process.pid not in cgroups.members():
            processes.stop(process)
    if not cgroups.kill_all():
        raise Failed(f"processes that cannot be killed: {sorted(cgroups.members())}")
    if not cgroups.remove():
        raise Failed("the cluster's cgroups cannot be removed")
    _unmount()
    network.remove()
    if STATE.exists():
        shutil.rmtree(STATE)
    for folder in node.BUILT_IN:
        # Only mount points: one stays if somebody else uses it.
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _unmount() -> None:
    """Unmount what lies in the state folder, if the nodes' own mounts should ever have got out of their namespaces."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{STATE}/"):
            run(["umount", "--lazy", point], check=False)


def status(programs: Path) -> str:
    """How the cluster is, for people."""
    if not STATE.exists():
        return f"there is no cluster in {STATE}"
    lines = [f"{process.name}: {'runs' if process.alive else 'has ended'}" for process in processes.recorded()]
    if not STAMP.exists():
        lines.append("its start was not finished: `make cluster-up` begins anew")
    elif control_plane.answers():
        lines.append(access.kubectl(programs, "get", "nodes,pods", "--all-namespaces", "-o", "wide"))
    else:
        lines.append("the API server does not answer: `make cluster-up` begins anew")
    return "\n".join(lines)
