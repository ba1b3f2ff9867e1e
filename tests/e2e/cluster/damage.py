"""The operators of a cluster of this machine: their processes, and how many there are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from e2e.cluster.kube import Kube
from e2e.cluster.release import DEPLOYMENT, NAMESPACE
from local_job import Process, until

SELECTOR = "app.kubernetes.io/name=trainingjob-operator"


def operators(kube: Kube) -> set[Process]:
    """The processes of all operators, as this machine sees them."""
    pods = kube.items("pods", "-n", NAMESPACE, "-l", SELECTOR)
    marks = [mark for pod in pods for mark in _marks(pod["metadata"]["uid"])]
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = any(mark in (folder / "cgroup").read_text() for mark in marks)
            if ours and b"trainingjob_operator" in (folder / "cmdline").read_bytes() and (process := Process.of(int(folder.name))):
                found.add(process)
    return found


def _marks(uid: str) -> tuple[str, str]:
    """How a pod's cgroup is named, by the kubelet itself or by systemd."""
    return f"pod{uid}", f"pod{uid.replace('-', '_')}"


def scale(kube: Kube, replicas: int) -> int:
    """Have so many operators; how many there were before."""
    before: int = kube.get("deployment", DEPLOYMENT, "-n", NAMESPACE)["spec"]["replicas"]
    kube.run("kubectl", "-n", NAMESPACE, "scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
    if replicas:
        kube.run("kubectl", "-n", NAMESPACE, "rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=120s")
    else:
        until("no operator is left", lambda: not kube.items("pods", "-n", NAMESPACE, "-l", SELECTOR))
    return before
