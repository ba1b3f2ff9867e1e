"""The operators that are measured, each a process of its own, and the jobs that they take. Effects.

Both get what a cluster gives an operator: a kubeconfig with its own user. Ours is the program of the image, behind a resolver that finds
every Service of a job at one loopback address (bench.scale.loopback); where nothing listens there, its streams are refused and tried again.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import urlopen

from bench.scale.world import OURS, THEIRS, World
from integration.processes import Server, free_port
from integration.rest import Rest
from local_job import until
from trainingjob_api import resource

SYSTEM = "trainingjob-system"
KUBEFLOW = "kubeflow"
IMAGE = "registry.invalid/trainer:1"
WORKERS = 4
_ROOT = Path(__file__).parents[3]
_SERVING = Path("/tmp/k8s-webhook-server/serving-certs")
_SECRET = "training-operator-webhook-cert"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_VERIFIED = "validator.training-operator.kubeflow.org"


class Subject(Protocol):
    """An operator."""

    name: str
    user: str
    selector: str
    """Of the pods that train."""

    def path(self, namespace: str) -> str:
        """Where its jobs are made."""

    def job(self, name: str, workers: int = WORKERS) -> dict[str, Any]:
        """A job of so many pods that train."""

    def job_of(self, pod: str) -> str | None:
        """The job that a pod trains for, by its name; None for another pod."""

    def failed(self) -> dict[str, Any]:
        """The status of a pod that trains, when it has ended and is to be replaced."""

    def start(self) -> int:
        """Start it; its process id once it is ready."""

    def stop(self) -> None:
        """End it."""


class Ours:
    """This operator."""

    name = "this operator"
    user = OURS
    selector = "batch.trainingjob.dev/role=worker"

    def __init__(self, world: World, **settings: Any) -> None:
        self._world = world
        self._config = world.folder / "operator.json"
        self._config.write_text(json.dumps(settings))
        self._port = free_port()
        self._server: Server | None = None
        world.rest("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})

    def path(self, namespace: str) -> str:
        """TrainingJobs."""
        return f"/apis/{resource.API_VERSION}/namespaces/{namespace}/{resource.PLURAL}"

    def job(self, name: str, workers: int = WORKERS) -> dict[str, Any]:
        """A TrainingJob."""
        return {
            "apiVersion": resource.API_VERSION,
            "kind": resource.KIND,
            "metadata": {"name": name},
            "spec": {
                "image": IMAGE,
                "workers": {"replicas": workers},
                "training": {"task": {"class": "trainingjob_trainer.tasks.digits:Digits"}, "epochs": 1},
                "checkpoint": {"storage": {"uri": f"s3://bucket/{name}"}},
            },
        }

    def job_of(self, pod: str) -> str | None:
        """The name, without hash, role, index and incarnation."""
        return pod.rsplit("-", 4)[0] if "-worker-" in pod else None

    def failed(self) -> dict[str, Any]:
        """A worker that was killed."""
        return _failed("worker")

    def begin(self) -> int:
        """Start it, without waiting; its process id."""
        kubeconfig = self._world.api.kubeconfig(OURS)
        environ = {
            "KUBECONFIG": str(kubeconfig),
            "POD_NAMESPACE": SYSTEM,
            "PYTHONPATH": str(_ROOT / "tests"),
            "TRAININGJOB_OPERATOR_CONFIG": str(self._config),
            "TRAININGJOB_OPERATOR_ADDRESS": "127.0.0.1",
            "TRAININGJOB_OPERATOR_PORT": str(self._port),
        }
        self._server = self._world.run("operator", [sys.executable, "-m", "bench.scale.loopback"], environ)
        return self._server.pid

    def start(self) -> int:
        """Start it; its process id once its caches are filled, and it holds the lease."""
        pid = self.begin()
        until("the operator is ready", lambda: _answers(f"http://127.0.0.1:{self._port}/readyz"))
        until("the operator leads", lambda: self.metric("trainingjob_operator_leads") == 1.0)
        return pid

    def metric(self, name: str) -> float:
        """A metric without labels."""
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def stop(self) -> None:
        """SIGTERM."""
        _end(self._world, self._server)
        self._server = None


class Kubeflow:
    """Kubeflow's training operator v1.8.1. `threads` is its one flag for speed; `raised` is built with 500 requests a second, not 20."""

    user = THEIRS
    selector = "training.kubeflow.org/operator-name=pytorchjob-controller"

    def __init__(self, world: World, threads: int = 1, *, raised: bool = False) -> None:
        self._world = world
        self._program = world.built / ("training-operator-raised" if raised else "training-operator.v1")
        self._threads = threads
        self.name = f"Kubeflow training-operator v1.8.1, {_threads(threads)}" + (", rebuilt for 500 requests/s" if raised else "")
        self._server: Server | None = None

    def path(self, namespace: str) -> str:
        """PyTorchJobs."""
        return f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"

    def job(self, name: str, workers: int = WORKERS) -> dict[str, Any]:
        """A PyTorchJob of a master and workers."""
        replicas = {"Master": 1, "Worker": workers - 1}
        return {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": name},
            "spec": {"pytorchReplicaSpecs": {kind: _replica(count) for kind, count in replicas.items() if count}},
        }

    def job_of(self, pod: str) -> str | None:
        """The name, without role and index."""
        return pod.rsplit("-", 2)[0]

    def failed(self) -> dict[str, Any]:
        """A pod that was killed: with the restart policy ExitCode, codes over 127 are tried again."""
        return _failed("pytorch")

    def start(self) -> int:
        """Start it; its process id once its controllers run."""
        self._install(self._world.rest)
        probes, output = free_port(), self._world.folder / "training-operator.out"
        before = output.stat().st_size if output.exists() else 0
        flags = [
            f"--kubeconfig={self._world.api.kubeconfig(THEIRS)}",
            "--enable-scheme=pytorchjob",
            f"--controller-threads={self._threads}",
            "--metrics-bind-address=0",
            f"--health-probe-bind-address=127.0.0.1:{probes}",
            f"--webhook-server-port={free_port()}",
            "--zap-devel=false",
        ]
        self._server = self._world.run("training-operator", [self._program, *flags], {"MY_POD_NAMESPACE": KUBEFLOW})
        until("its certificate is made", self._mount, 120)
        until("the training operator has started its workers", lambda: b"Starting workers" in output.read_bytes()[before:], 180)
        return self._server.pid

    def stop(self) -> None:
        """SIGTERM."""
        _end(self._world, self._server)
        self._server = None
        shutil.rmtree(_SERVING.parent, ignore_errors=True)

    def _install(self, rest: Rest) -> None:
        """What its chart makes: a Secret that it fills, and a list of webhooks, here empty. They may be there already."""
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _SECRET}}
        group = "admissionregistration.k8s.io/v1"
        webhooks = {"apiVersion": group, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": _VERIFIED}, "webhooks": []}
        rest("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KUBEFLOW}})
        rest("POST", f"/api/v1/namespaces/{KUBEFLOW}/secrets", secret)
        rest("POST", _WEBHOOKS, webhooks)

    def _mount(self) -> bool:
        """Put the Secret where a kubelet would mount it."""
        assert self._server is not None
        self._server.lives()
        data = self._world.rest("GET", f"/api/v1/namespaces/{KUBEFLOW}/secrets/{_SECRET}").body.get("data") or {}
        _SERVING.mkdir(parents=True, exist_ok=True)
        for name, text in data.items():
            (_SERVING / name).write_bytes(base64.b64decode(text))
        return {"tls.crt", "tls.key", "ca.crt"} <= set(data)


def _threads(count: int) -> str:
    return "default" if count == 1 else f"{count} threads"


def _replica(count: int) -> dict[str, Any]:
    containers = [{"name": "pytorch", "image": IMAGE, "command": ["python", "train.py"]}]
    return {"replicas": count, "restartPolicy": "ExitCode", "template": {"spec": {"containers": containers}}}


def _failed(container: str) -> dict[str, Any]:
    state = {"terminated": {"exitCode": 137, "reason": "Error"}}
    statuses = [{"name": container, "ready": False, "restartCount": 0, "image": IMAGE, "imageID": "", "state": state}]
    return {"status": {"phase": "Failed", "containerStatuses": statuses}}


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (HTTPError, OSError):
        return False


def _end(world: World, server: Server | None) -> None:
    assert server is not None, "it does not run"
    world.ended(server)
    server.stop(signal.SIGTERM)
