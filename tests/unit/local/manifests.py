"""Jobs and pods for the tests of the local backend: a pod's command is a small Python script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.jobs import LocalJobs

KEY = job_key("default", "digits")
DEADLINE = 20.0


def make_job(**spec: Any) -> Manifest:
    return {
        "apiVersion": "batch.trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": KEY.name},
        "spec": {
            "training": {"script": {"command": ["python", "train.py"]}},
            "checkpoint": {"storage": {"uri": "file:///tmp/nowhere"}},
            **spec,
        },
    }


def make_pod(name: str, script: str, *, role: str = "worker", index: int = 0, env: list[Manifest] | None = None, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": KEY.namespace,
            "labels": {
                "batch.trainingjob.dev/role": role,
                "batch.trainingjob.dev/worker-index": str(index),
                "batch.trainingjob.dev/incarnation": "2",
                "batch.trainingjob.dev/epoch": "3",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            **spec,
            "containers": [{"name": "main", "command": ["python", "-c", script], "env": env or []}],
        },
    }


def make_jobs(root: Path) -> LocalJobs:
    jobs = LocalJobs(root)
    jobs.create(make_job(), root)
    return jobs


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until `holds()` is true, and return what it said."""
    end = time.monotonic() + DEADLINE
    while not (said := holds()):
        assert time.monotonic() < end, "the deadline has passed"
        await asyncio.sleep(0.01)
    return said
