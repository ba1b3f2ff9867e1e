"""The digits example as the end-to-end tests run it, and how its models are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from local_job import LocalJob, load

UNPACED = "trainingjob_trainer.tasks.digits:Digits"
"""For what is held against the pace of the product itself, and for steps of many lanes, each of which would be held back."""
Make = Callable[..., LocalJob]
"""Makes a digits job with fields of its spec changed: make("name", workers__replicas=2)."""


def digits(**changes: Any) -> dict[str, Any]:
    """The digits example at a pace: 450 steps in eight seconds, to be interrupted, or more on a busy machine.

    It is bit-reproducible at three workers, since it never trains with fewer.
    """
    manifest = load("digits.yaml")
    spec = manifest["spec"]
    spec["workers"] = {"replicas": 3, "minReplicas": 3}
    spec["training"]["task"]["class"] = "paced_digits:PacedDigits"
    spec["training"]["epochs"] = 30
    spec["checkpoint"] |= {"everySteps": 40, "keep": 3}
    spec["recovery"] = {"maxFailures": 20}
    for path, value in changes.items():
        *way, last = path.split("__")
        place = spec
        for word in way:
            place = place.setdefault(word, {})
        place[last] = value
    return manifest


def weights(job: LocalJob) -> str:
    """A checksum of the exported model's weights."""
    return hashlib.sha256((job.model() / "model.safetensors").read_bytes()).hexdigest()
