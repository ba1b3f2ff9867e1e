"""A cluster whose nodes and kubelets are kwok's: etcd, kube-apiserver, scheduler and controller manager are real, on loopback. Effects.

The scheduler's own limit of 50 requests a second is raised: an operator is measured, not the scheduler. Operators under measurement are
ordinary users to the API server, each its own, so that the audit log tells them apart and none is let past another.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from integration import programs
from integration.api_server import ApiServer
from integration.credentials import ADMIN
from integration.installation import DEFINITIONS, conditions, install
from integration.processes import Server
from integration.rest import Rest
from local_job import until

BUILD = Path(__file__).parents[1] / "build.sh"
OURS, THEIRS, BARE = "operator", "alice", "bob"
"""Who is who to the API server."""
NODES = 5
_STAGES = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease", "pod/fast/pod-ready", "pod/fast/pod-delete")
_KWOK = json.dumps(
    {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "podPlayStageParallelism": 32,
            "nodePlayStageParallelism": 4,
            "nodeLeaseParallelism": 4,
            "podsOnNodeSyncParallelism": 4,
        },
    }
)
_LEASE_SECONDS = 200
"""Of a made-up node: its heartbeats are no part of any measurement."""


def built() -> Path:
    """The folder of the programs that only measurements need."""
    done = subprocess.run([str(BUILD)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


class World:
    """The cluster. Nothing of it outlives this process."""

    def __init__(self, folder: Path) -> None:
        """Its parts, not yet started; what they write goes to `folder`."""
        self.folder = folder
        self.built = built()
        self._programs = replace(programs.find(), etcd=self.built / "etcd")
        self.api = ApiServer(self._programs, folder)
        self._servers: list[Server] = []

    @property
    def rest(self) -> Rest:
        """The API server's protocol, as the admin."""
        return self.api.rest()

    def start(self) -> None:
        """Start everything, with nodes that are ready and both definitions."""
        self.api.start()
        rest = self.rest
        install(rest)
        self._define(rest)
        for user in (OURS, THEIRS, BARE):
            _allow(rest, user)
        admin = self.api.kubeconfig(ADMIN)
        beside = self._programs.kube_apiserver.parent
        self.run("controller-manager", [beside / "kube-controller-manager", *self._controllers(admin)])
        scheduler = [f"--kubeconfig={admin}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=1000"]
        self.run("scheduler", [beside / "kube-scheduler", *scheduler])
        stages = self.folder / "stages.yaml"
        parts = [_KWOK, *((self.built / "stages" / f"{name}.yaml").read_text() for name in _STAGES)]
        stages.write_text("\n---\n".join(parts))
        kwok = [f"--kubeconfig={admin}", f"--config={stages}", "--manage-all-nodes", "--cidr=10.128.0.0/12", "--node-ip=127.0.0.1"]
        self.run("kwok", [self.built / "kwok", *kwok, f"--node-lease-duration-seconds={_LEASE_SECONDS}"])
        for number in range(NODES):
            _must(rest("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"kwok-{number}"}}))
        until("the nodes are ready and without taints", lambda: all(map(_usable, rest("GET", "/api/v1/nodes").body["items"])), 120)

    def run(self, name: str, command: list[str | Path], environ: dict[str, str] | None = None) -> Server:
        """Start a program, to be ended by `close`."""
        given = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environ or {})}
        server = Server(command, self.folder / f"{name}.out", given)
        self._servers.append(server)
        return server

    def namespace(self, prefix: str) -> str:
        """A fresh namespace, in which pods may be made."""
        rest, name = self.rest, f"{prefix}-{secrets.token_hex(3)}"
        _must(rest("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        until("the namespace has its service account", lambda: rest("GET", account).ok)
        return name

    def remove(self, namespace: str) -> None:
        """Delete a namespace with all that is in it, and wait until it is gone."""
        rest, path = self.rest, f"/api/v1/namespaces/{namespace}"
        _must(rest("DELETE", path))
        until(f"{namespace} is gone", lambda: rest("GET", path).code == 404, 300)

    def lives(self) -> None:
        """Fail if a part of it has ended by itself."""
        for server in self._servers:
            server.lives()

    def ended(self, server: Server) -> None:
        """A program that was started by `run` has been stopped on purpose."""
        self._servers.remove(server)

    def close(self) -> None:
        """End everything."""
        for server in reversed(self._servers):
            if server.running():
                server.stop()
        self._servers.clear()
        self.api.close()

    def _controllers(self, admin: Path) -> list[str]:
        return [
            f"--kubeconfig={admin}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.api.credentials.account_key}",
            f"--node-monitor-grace-period={3 * _LEASE_SECONDS}s",
        ]

    def _define(self, rest: Rest) -> None:
        body = YAML(typ="safe").load((self.built / "crds" / "kubeflow.org_pytorchjobs.yaml").read_text())
        _must(rest("POST", DEFINITIONS, body))
        path = f"{DEFINITIONS}/{body['metadata']['name']}"
        until("PyTorchJobs are established", lambda: conditions(rest("GET", path).body).get("Established") == "True")


@contextmanager
def world() -> Iterator[World]:
    """A cluster for one measurement; what its parts wrote stays only where it failed."""
    folder = Path(tempfile.mkdtemp(prefix="trainingjob-bench-"))
    made = World(folder)
    try:
        made.start()
        yield made
        made.lives()
    except BaseException:
        made.close()
        print(f"what the parts wrote is in {folder}", flush=True)
        raise
    made.close()
    shutil.rmtree(folder)


def _must(answer: object) -> None:
    assert answer.ok, answer.message  # type: ignore[attr-defined]


def _usable(node: dict[str, object]) -> bool:
    return conditions(node).get("Ready") == "True" and not node["spec"].get("taints")  # type: ignore[attr-defined]


def _allow(rest: Rest, user: str) -> None:
    """What an operator may do is no part of these measurements: everything."""
    group = "rbac.authorization.k8s.io"
    body = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"bench-{user}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    _must(rest("POST", f"/apis/{group}/v1/clusterrolebindings", body))
