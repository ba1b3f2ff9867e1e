"""What every child has in its metadata: the owner, the namespace, the labels; and the pods' restricted defaults. Pure."""

from __future__ import annotations

from typing import Any

from trainingjob_api.contract.variables import escape
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest

POD_SECURITY: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
"""What the restricted Pod Security Standard wants of a pod."""

CONTAINER_SECURITY: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What the restricted Pod Security Standard wants of a container."""

OUTSIDE_MESHES: dict[str, dict[str, str]] = {
    "labels": {"sidecar.istio.io/inject": "false"},
    "annotations": {"linkerd.io/inject": "disabled"},
}
"""What keeps a service mesh's proxy out of a pod. It would outlive the worker, whose pod then never ends, and stand between processes
that know each other by address and speak TLS already. A template that says otherwise under the same keys is obeyed."""


def meshed(job: TrainingJob, part: str) -> dict[str, str]:
    """What all of the job's pods say to service meshes: `part` is "labels" or "annotations"."""
    given = job.spec.workers.template.metadata
    said = (getattr(given, part) if given is not None else None) or {}
    return {key: said.get(key, value) for key, value in OUTSIDE_MESHES[part].items()}


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


def pod(job: TrainingJob, name: str, template: Manifest, labels: dict[str, str], told: dict[str, str]) -> Manifest:
    """A pod of a template that is kept: with labels of its own, and with what its first container alone is `told`."""
    container, *others = template["spec"]["containers"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(job, name) | template["metadata"] | {"labels": template["metadata"]["labels"] | labels},
        "spec": template["spec"] | {"containers": [container | {"env": [*container["env"], *variables(told)]}, *others]},
    }


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
    """Plain environment variables of a container. The kubelet hands their values on unchanged: a task's parameters may hold dollars."""
    return [{"name": name, "value": escape(value)} for name, value in values.items()]


def from_secret(variable: str, secret: str, key: str) -> Manifest:
    """An environment variable from the `key` of a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
