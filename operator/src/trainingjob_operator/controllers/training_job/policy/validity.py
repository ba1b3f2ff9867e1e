"""May this manifest be run at all? What the API server's own checks cannot see. Pure.

An invalid manifest gets the condition Valid=False and nothing else, until somebody changes it.
"""

from __future__ import annotations

import json

from trainingjob_api import launchers
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_operator.controllers.training_job.children.pinned import configuration
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed

MAX_CONFIG_BYTES = 100 << 10
"""Linux takes no environment variable of 128 KiB or more."""


def problem(seen: Observed, settings: Settings) -> str:
    """What is wrong with the manifest, naming the field and the fix; "" if nothing is."""
    return seen.problem or _gpus(seen.job) or _length(seen.job) or _first_launch(seen)


def launch(spec: JobSpec) -> str:
    """Return why a script's launcher would not train as one job, naming the field and the fix; "" if it would."""
    script, workers = spec.training.script, spec.workers
    found = None if script is None else launchers.problem(script.command, workers.replicas, workers.processes_per_worker)
    return "" if found is None else f"spec.{found[0]}: {found[1]}"


def _first_launch(seen: Observed) -> str:
    """What `launch` says of a job of which nothing was ever started: one that runs is not stopped by what a later operator knows."""
    return "" if seen.job.status.attempt > 0 or seen.is_begun() else launch(seen.job.spec)


def _gpus(job: TrainingJob) -> str:
    workers, resources = job.spec.workers, job.spec.workers.template.resources
    if workers.gpus and resources is not None:
        for place, amounts in (("limits", resources.limits), ("requests", resources.requests)):
            if workers.gpu_resource_name in (amounts or {}):
                return f"spec.workers.template.resources.{place}: {workers.gpu_resource_name} is set by workers.gpus; remove one of them"
    return ""


def _length(job: TrainingJob) -> str:
    length = len(json.dumps(configuration(job), separators=(",", ":")))
    if length > MAX_CONFIG_BYTES:
        return f"spec.training: it takes {length} bytes, over {MAX_CONFIG_BYTES}; move long parameters into the image or a volume"
    return ""
