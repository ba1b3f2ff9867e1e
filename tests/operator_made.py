"""The pods that an operator has made: those of one life of a job are alike, whoever made them."""

from __future__ import annotations

from typing import Any

from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest

OWN_LABELS = {names.WORKER_INDEX_LABEL, names.INCARNATION_LABEL, names.EPOCH_LABEL}
OWN_VARIABLES = {f"TRAININGJOB_{name}" for name in ("WORKER", "INCARNATION", "CONFIG", "EPOCH", "INTENT")}


def common(manifest: Manifest) -> dict[str, Any]:
    """What a pod has in common with all of its role: not its name, its numbers, and what it is told of the day."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    (container,) = spec["containers"]
    variables = [variable for variable in container["env"] if variable["name"] not in OWN_VARIABLES]
    return {
        "labels": {name: value for name, value in metadata["labels"].items() if name not in OWN_LABELS},
        "annotations": metadata.get("annotations"),
        "spec": spec | {"containers": [container | {"env": variables}]},
    }


class Made:
    """The pods, in their order."""

    def __init__(self) -> None:
        self.pods: list[Manifest] = []
        self._alike: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Another life."""
        self._alike.clear()

    def take(self, manifest: Manifest) -> None:
        """A pod is made."""
        self.pods.append(manifest)
        role = manifest["metadata"]["labels"][names.ROLE_LABEL]
        assert common(manifest) == self._alike.setdefault(role, common(manifest)), f"another {role} than this life's first"

    def last(self, role: Role) -> Manifest:
        """The newest of a role."""
        return [pod for pod in self.pods if pod["metadata"]["labels"][names.ROLE_LABEL] == role][-1]
