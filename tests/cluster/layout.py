"""Where everything of the test cluster lies: folders, network namespaces, addresses and ports."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# Short, because paths of unix sockets lie under it.
STATE = Path(os.environ.get("TRAININGJOB_CLUSTER_DIR") or "/var/lib/trainingjob-cluster")
CACHE = Path(os.environ.get("TRAININGJOB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainingjob")

LOGS = STATE / "log"
PKI = STATE / "pki"
ADMIN = STATE / "control" / "admin.conf"
KUBECONFIG = STATE / "kubeconfig"
AUDIT_LOG = STATE / "audit.log"
ENVIRONMENT = STATE / "env.sh"

# The cluster's name: of its cgroup, and the beginning of its network namespaces' names.
NAME = "trainingjob-cluster"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
DNS_DOMAIN = "cluster.local"
API_PORT = 6443
# On the machine's loopback, each relayed into the cluster's network.
LOOPBACK_API_PORT = 16443
LOOPBACK_S3_PORT = 17070


@dataclass(frozen=True)
class Node:
    """One node: its number says its addresses and its pods' range."""

    number: int

    @property
    def name(self) -> str:
        """The name that Kubernetes and the log files have for it."""
        return f"node-{self.number}"

    @property
    def namespace(self) -> Path:
        """Its network namespace."""
        return Path("/run/netns") / f"{NAME}-{self.name}"

    @property
    def address(self) -> str:
        """Its own address, which every other node has a route to."""
        return f"10.250.0.{self.number + 1}"

    @property
    def pod_range(self) -> str:
        """The addresses of its pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def folder(self) -> Path:
        """Its part of the state folder."""
        return STATE / self.name

    @property
    def containerd(self) -> Path:
        """The socket of its container runtime."""
        return self.folder / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """The cgroup of all its pods, under every controller."""
        return f"{NAME}/{self.name}"


NODES = (Node(0), Node(1))
# The control plane lives in the first node's network namespace.
CONTROL = NODES[0]
API_URL = f"https://{CONTROL.address}:{API_PORT}"


def node(name: str) -> Node:
    """The node of that name.

    Raises:
        ValueError: there is none.
    """
    for found in NODES:
        if found.name == name:
            return found
    raise ValueError(f"no node is called {name!r}; there are {', '.join(each.name for each in NODES)}")
