"""Pods as the API server tells of them."""

from __future__ import annotations

from typing import Any

OWNER = {"apiVersion": "batch.trainingjob.dev/v1alpha1", "kind": "TrainingJob", "name": "digits", "uid": "job-uid", "controller": True}


def manifest(status: dict[str, Any] | None = None, role: str = "worker", **metadata: Any) -> dict[str, Any]:
    """The pod of worker 2 in its incarnation 3, or of the rendezvous in epoch 4."""
    numbers = {"worker": {"worker-index": "2", "incarnation": "3"}, "rendezvous": {"epoch": "4"}}.get(role, {})
    labels = {f"batch.trainingjob.dev/{name}": value for name, value in ({"role": role} | numbers).items()}
    named = {"name": "pod", "namespace": "team", "uid": "pod-uid", "labels": labels, "ownerReferences": [OWNER]}
    return {"metadata": named | metadata, "spec": {"nodeName": "node-1"}, "status": {"phase": "Running"} if status is None else status}
