"""Nodes without a machine, as a kubelet and a control plane tell of them."""

from __future__ import annotations

from integration.rest import MERGE, Rest

PATH = "/api/v1/nodes"


class Nodes:
    """What a test has to do with them."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self.names: set[str] = set()

    def add(self, name: str) -> str:
        """A node that is ready."""
        answer = self._rest("POST", PATH, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        assert answer.ok, answer.message
        self.names.add(name)
        self.say(name, ready=True)
        return name

    def say(self, name: str, *, ready: bool | None) -> None:
        """It is ready, it is not, or (None) nobody knows since its kubelet is silent."""
        value = "Unknown" if ready is None else str(ready)
        change = {"status": {"conditions": [{"type": "Ready", "status": value, "reason": "MadeUp", "message": "made up by a test"}]}}
        answer = self._rest("PATCH", f"{PATH}/{name}/status", change, MERGE)
        assert answer.ok, answer.message

    def taint(self, name: str, key: str) -> None:
        """Nothing is to stay there."""
        answer = self._rest("PATCH", f"{PATH}/{name}", {"spec": {"taints": [{"key": key, "effect": "NoExecute"}]}}, MERGE)
        assert answer.ok, answer.message

    def remove(self, name: str) -> None:
        """It is no longer part of the cluster."""
        self.names.discard(name)
        answer = self._rest("DELETE", f"{PATH}/{name}")
        assert answer.ok, answer.message
