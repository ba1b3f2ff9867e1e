"""May and can this machine run the cluster? Nothing is installed without consent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster import cgroups
from cluster.commands import run
from cluster.layout import CACHE, NODES, STATE

PACKAGES = (
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iproute2",
    "nftables",
    "socat",
    "procps",
    "buildah",
    "debootstrap",
)
SERVICES = ("etcd", "containerd")
DISK_GIB = 15
MEMORY_GIB = 6
CONSENT = "TRAININGJOB_CLUSTER_CONSENT"


def unfit() -> str | None:
    """Why this machine cannot run the cluster, in one line; None if it can."""
    if sys.platform != "linux":
        return f"the test cluster needs Linux, and this is {sys.platform}"
    if not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        return "the test cluster needs Debian: its programs come from Debian's packages"
    if os.geteuid() != 0:
        return "the test cluster needs root: it makes network namespaces, mounts and cgroups"
    return _too_small() or _lacks_kernel()


def _too_small() -> str | None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if memory < MEMORY_GIB:
        return f"the test cluster needs {MEMORY_GIB} GiB of memory, and this machine has {memory:.1f}"
    # A cluster that is up already has taken its share.
    parent = next(folder for folder in (STATE, *STATE.parents) if folder.exists())
    disk = shutil.disk_usage(parent).free / 2**30
    if disk < DISK_GIB and not STATE.exists():
        return f"the test cluster needs {DISK_GIB} GiB free in {parent}, and there are {disk:.1f}"
    return None


def _lacks_kernel() -> str | None:
    for flag, what in (("--net", "network namespaces"), ("--mount", "mount namespaces")):
        if subprocess.run(["unshare", flag, "true"], capture_output=True, check=False).returncode != 0:
            return f"the test cluster needs {what}, and this machine does not let root make them"
    if not cgroups.trees():
        return "the test cluster needs cgroups, and none are mounted under /sys/fs/cgroup"
    return None


def missing() -> list[str]:
    """The packages that are not installed."""
    listing = run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES], check=False)
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def consented() -> bool:
    """Whether packages may be installed: somebody has said so, or this is a machine for tests only."""
    return os.environ.get(CONSENT) == "yes" or os.environ.get("CI") == "true"


def reason() -> str | None:
    """Why the cluster cannot be started now, in one line; None if it can."""
    found = unfit()
    if found is None and (packages := missing()) and not consented():
        return f"not installed: {' '.join(packages)}; to let them be: make cluster-up {CONSENT}=yes"
    return found


def plan() -> str:
    """What a start does to the machine."""
    packages = missing()
    return (
        f"Debian packages to install: {' '.join(packages) or 'none'}\n"
        f"cache of built programs, about 1 GiB, which stays: {CACHE}\n"
        f"state, which `make cluster-down` removes: {STATE}\n"
        f"network namespaces, without a way out of the machine: {' '.join(node.namespace.name for node in NODES)}\n"
    )


def install() -> None:
    """Install what is missing; the packages' own services are not wanted."""
    packages = missing()
    if not packages:
        return
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run(["apt-get", "update", "-q"], timeout=600)
    run([*quiet, "apt-get", "install", "-yq", "--no-install-recommends", *packages], timeout=1200)
    if Path("/run/systemd/system").exists():
        for service in SERVICES:
            if any(package.startswith(service) for package in packages):
                run(["systemctl", "disable", "--now", service], check=False)
