"""A pod of the test cluster as the kernel has it: its control group, its processes and their memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale.usage import cpu_seconds
from cluster import cgroups
from cluster.layout import NAME

PERIOD_MICROSECONDS = 100_000
LIFT = 'cat; for file do case "$file" in */cpu.max) echo max > "$file" ;; *) echo -1 > "$file" ;; esac; done'
UNLIMITED = ("max", "-1")
PROGRAMS = ("trainingjob_operator", "trainingjob_rendezvous", "trainingjob_agent", "trainingjob_trainer")


@dataclass(frozen=True)
class Throttling:
    """Periods in which the group ran, and those in which it was held up because its share was used up."""

    periods: int
    throttled: int


@dataclass(frozen=True)
class Group:
    """One pod's group under the controller of CPU time."""

    folder: Path

    @classmethod
    def of(cls, pod: dict[str, Any]) -> Group:
        """The group that the kubelet has made for a pod."""
        tree = next(tree for tree in cgroups.trees() if tree.name in ("cpu", "cgroup", "cpu,cpuacct"))
        (folder,) = (tree / NAME).glob(f"node-*/**/pod{pod['metadata']['uid']}")
        return cls(folder)

    def limits(self) -> Path:
        """The file that says how much of a processor the group may have."""
        unified = self.folder / "cpu.max"
        return unified if unified.exists() else self.folder / "cpu.cfs_quota_us"

    def throttling(self) -> Throttling:
        """Since the group was made."""
        told = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return Throttling(int(told["nr_periods"]), int(told["nr_throttled"]))

    def used(self) -> float:
        """Seconds of processor time that its processes have had so far."""
        listed = (listed for file in self.folder.rglob("cgroup.procs") for listed in file.read_text().split())
        return sum(cpu_seconds(int(pid)) for pid in listed)

    def resident(self) -> dict[str, float]:
        """MiB of memory that each of the product's processes holds, by its program."""
        found = {}
        for listed in self.folder.rglob("cgroup.procs"):
            for pid in listed.read_text().split():
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                for program in PROGRAMS:
                    if words[1:2] and words[1].endswith("m") and words[2:3] == [program]:
                        found[program] = int(told["VmRSS"].split()[0]) / 1024
        return found


@contextmanager
def throttled(shares: dict[Group, float]) -> Iterator[None]:
    """Hold each group to its share of one processor while the block runs, in periods of 100 ms, which is what Kubernetes has, too.

    Whatever ends this process, a program that sees its stdin end lifts the limits.
    """
    files = [str(group.limits()) for group in shares]
    with subprocess.Popen(["sh", "-c", LIFT, "sh", *files], stdin=subprocess.PIPE, start_new_session=True):
        for group, share in shares.items():
            group.limits().write_text(str(int(share * PERIOD_MICROSECONDS)))
        yield
    for group in shares:
        assert group.limits().read_text().split()[0] in UNLIMITED
