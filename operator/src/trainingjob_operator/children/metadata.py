"""What every child has in its metadata: the owner, the namespace, the labels; and the pods' restricted defaults. Pure."""

from __future__ import annotations

from typing import Any

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.children import names
from trainingjob_operator.state import Manifest, Role

POD_SECURITY: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
"""What the restricted Pod Security Standard wants of a pod."""

CONTAINER_SECURITY: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What the restricted Pod Security Standard wants of a container."""


def metadata(
    job: TrainingJob,
    name: str,
    role: Role | None = None,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """The metadata of the child `name`. The operator's own labels win over `labels`."""
    found: Manifest = {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": (labels or {}) | names.labels(job.metadata.name, job.metadata.uid, role),
        "ownerReferences": [owner(job)],
    }
    return found | ({"annotations": annotations} if annotations else {})


def owner(job: TrainingJob) -> Manifest:
    """The reference that makes `job` the controller of a child: the child goes when the job goes."""
    return {
        "apiVersion": job.api_version,
        "kind": job.kind,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def variables(values: dict[str, str]) -> list[Manifest]:
    """Plain environment variables of a container."""
    return [{"name": name, "value": value} for name, value in values.items()]


def from_secret(variable: str, secret: str, key: str) -> Manifest:
    """An environment variable from the `key` of a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
