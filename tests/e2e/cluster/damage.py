"""What tests break in a cluster of this machine: the operators, and the API server. Each proves that it was there to be broken."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster import control_plane, processes
from cluster.commands import in_network
from cluster.layout import CONTROL
from e2e.cluster.kube import Kube
from e2e.cluster.release import DEPLOYMENT, NAMESPACE
from local_job import Process, until

SELECTOR = "app.kubernetes.io/name=trainingjob-operator"
API_SERVER = "kube-apiserver"


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


def kill(victims: set[Process]) -> None:
    """kill -9 of every operator, of which none is left."""
    assert victims
    for victim in victims:
        victim.kill()
    until("the operators are dead", lambda: not any(victim.lives() for victim in victims))


def another_operator(kube: Kube) -> None:
    """Have new pods for the operators that were killed, rather than wait for the kubelet's pause between two lives; they are ready."""
    old = {pod["metadata"]["uid"] for pod in kube.items("pods", "-n", NAMESPACE, "-l", SELECTOR)}
    kube.run("kubectl", "-n", NAMESPACE, "delete", "pods", "-l", SELECTOR, "--force", "--grace-period=0", "--wait=false")

    def ready() -> bool:
        pods = kube.items("pods", "-n", NAMESPACE, "-l", SELECTOR)
        fresh = [pod for pod in pods if pod["metadata"]["uid"] not in old]
        conditions = [condition for pod in fresh for condition in pod["status"].get("conditions", ())]
        return [condition["status"] for condition in conditions if condition["type"] == "Ready"] == ["True"] * len(old)

    until("other operators are ready", ready, 120)


def scale(kube: Kube, replicas: int) -> int:
    """Have so many operators; how many there were before."""
    before: int = kube.get("deployment", DEPLOYMENT, "-n", NAMESPACE)["spec"]["replicas"]
    kube.run("kubectl", "-n", NAMESPACE, "scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
    if replicas:
        kube.run("kubectl", "-n", NAMESPACE, "rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=120s")
    else:
        until("no operator is left", lambda: not kube.items("pods", "-n", NAMESPACE, "-l", SELECTOR))
    return before


@contextmanager
def without_api_server() -> Iterator[None]:
    """kill -9 of the API server; it is started again when the body has ended."""
    server = processes.lookup(API_SERVER)
    words = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    assert words[0].endswith(API_SERVER), "nsenter has become the program"
    assert control_plane.answers()
    os.kill(server.pid, signal.SIGKILL)
    try:
        until("it is gone", lambda: not server.alive and not control_plane.answers())
        yield
        assert not control_plane.answers()
    finally:
        began = processes.start(API_SERVER, in_network(CONTROL, words))
        control_plane.wait_ready([began])
