"""What a job keeps for its whole life, whatever the operator's defaults become: image, build, and the workers' configuration. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.settings import Settings

_NOT_FOR_WORKERS = ("suspend", "rollback", "managedBy", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "podRetention")
"""Fields of the spec that may change while workers run, and tell them nothing."""


@dataclass(frozen=True)
class Pinned:
    """What every worker of the job has in common."""

    image: str
    build: str
    """Names image, contract and training: members of another build are refused."""
    config: str
    """The spec as JSON, without what workers need not know."""


def pin(job: TrainingJob, settings: Settings, *, anew: bool = False) -> Pinned:
    """What the job's status has pinned, or is to pin now; `anew`: what it is to pin for another life after a suspension."""
    status = job.status
    image = job.spec.image or status.image if anew else status.image or job.spec.image
    image = image or settings.default_image
    config = _config(job)
    build = status.build if status.build and not anew else _build(image, config)
    return Pinned(image=image, build=build, config=json.dumps(config, separators=(",", ":")))


def _config(job: TrainingJob) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(job.spec.to_json())
    for name in _NOT_FOR_WORKERS:
        config.pop(name, None)
    config.get("workers", {}).pop("template", None)
    return config


def _build(image: str, config: dict[str, Any]) -> str:
    """A hash of what must be the same in every member."""
    content = json.dumps([image, CONTRACT_VERSION, config["training"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
