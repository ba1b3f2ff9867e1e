"""Which nodes are lost? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainingjob_operator.engine.values import Manifest

_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True)
class KnownNode:
    """What the operator keeps of a node."""

    name: str
    trouble: str = ""
    """Why its pods cannot be counted on; "" if they can."""


def read(manifest: Manifest) -> KnownNode:
    """The node. The kubelet's silence, which the control plane notes after its grace period, counts; mere pressure does not."""
    name = manifest["metadata"]["name"]
    if any(taint.get("key") == _OUT_OF_SERVICE for taint in manifest.get("spec", {}).get("taints") or ()):
        return KnownNode(name, "is out of service")
    ready = next((c for c in manifest.get("status", {}).get("conditions") or () if c.get("type") == "Ready"), None)
    if ready is not None and ready.get("status") != "True":
        return KnownNode(name, "is not ready")
    return KnownNode(name)
