"""The ControllerRevision that keeps what a job's life was resolved to: image, build, contract, configuration. Pure."""

from __future__ import annotations

import json

from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.children import names
from trainingjob_operator.children.metadata import metadata
from trainingjob_operator.children.pinned import Pinned
from trainingjob_operator.state import Manifest


def revision_name(job: TrainingJob, pinned: Pinned) -> str:
    """One for each build that the job has had."""
    return f"{names.base(job.metadata.name, job.metadata.uid)}-{pinned.build[:10]}"


def revision(job: TrainingJob, pinned: Pinned) -> Manifest:
    """The record of `pinned`, immutable by its kind."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(job, revision_name(job, pinned)),
        "revision": 1,
        "data": {
            "image": pinned.image,
            "build": pinned.build,
            "contract": CONTRACT_VERSION,
            "config": json.loads(pinned.config),
        },
    }
