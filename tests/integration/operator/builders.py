"""Manifests with valid defaults, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

JOB = "digits"


def job(name: str = JOB, **workers: Any) -> dict[str, Any]:
    """A TrainingJob; `workers` are fields of spec.workers."""
    return {
        "apiVersion": "batch.trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "workers": {"replicas": 2, "minReplicas": 1} | workers,
            "training": {"task": {"class": "trainingjob_trainer.tasks.digits:Digits"}, "epochs": 1},
            "checkpoint": {"storage": {"uri": f"s3://bucket/{name}"}},
        },
    }


def condition(status: dict[str, Any], kind: str) -> str | None:
    """The value of a condition; None if it is not there."""
    return next((found["status"] for found in status.get("conditions", ()) if found["type"] == kind), None)
