"""What a job keeps while it lives, whatever the operator's version and settings become: image, build, configuration, pod templates. Pure.

It is resolved when a life begins and kept in a ControllerRevision; pods are made from that, and from nothing else. If the revision is lost,
the present operator resolves again, apart from image and build, which the status has too.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_api.crd.mutability import TABLE, Mutability
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_operator.controllers.training_job.children import rendezvous, revision, worker
from trainingjob_operator.controllers.training_job.identity import choose, derive
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pinned
from trainingjob_operator.engine.values import Manifest

_NOT_FOR_WORKERS = ("suspend", "rollback", "managedBy", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "podRetention", "network")
"""Fields of the spec that may change while workers run, and tell them nothing."""
_DEFAULT, _SPEC = "Default", "Spec"
"""Where the image was named."""


def pin(seen: Observed, settings: Settings, *, anew: bool = False) -> Pinned:
    """What the job's pods are made from; `anew`: in the life that begins now."""
    if seen.pinned is not None and not anew:
        return seen.pinned
    job, status = seen.job, seen.job.status
    image, source = _image(seen, settings, anew=anew)
    config = configuration(job)
    build = status.build if status.build and not anew else _build(image, config)
    identity = derive(choose(settings.keys, "" if anew else status.key_id), job.metadata.uid)
    data: Manifest = {
        "image": image,
        "imageFrom": source,
        "build": build,
        "contract": CONTRACT_VERSION,
        "port": settings.rendezvous_port,
        "config": config,
        "worker": worker.template(job, image, build, identity, settings),
        "rendezvous": rendezvous.template(job, identity, settings),
    }
    return revision.pinned(job, data)


def configuration(job: TrainingJob) -> dict[str, Any]:
    """The spec, without what workers need not know."""
    config: dict[str, Any] = json.loads(job.spec.to_json())
    for name in _NOT_FOR_WORKERS:
        config.pop(name, None)
    config.get("workers", {}).pop("template", None)
    return config


def told(job: TrainingJob, config: dict[str, Any]) -> str:
    """Return a worker's configuration, as JSON: `config` as it was pinned, with what may change at any time as the spec has it today.

    The life's trainer may be older than this operator and refuses fields that it does not know. So fields that `config` lacks are left
    out, and so are all that have their default.
    """
    present = configuration(job)
    for path in (path for path, mutability in TABLE.items() if mutability is Mutability.ALWAYS):
        *way, last = path.split(".")
        old, new = config, present
        for word in way:
            old, new = old.get(word, {}), new.get(word, {})
        if last in old and last in new:
            old[last] = new[last]
    return _without_defaults(config)


def _without_defaults(config: dict[str, Any]) -> str:
    """Return `config` as JSON. One that another version kept, and this one cannot read, stays as it is."""
    try:
        spec = JobSpec.model_validate(config)
    except ValidationError:
        return json.dumps(config, separators=(",", ":"))
    return spec.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True)


def _image(seen: Observed, settings: Settings, *, anew: bool) -> tuple[str, str]:
    """The image, and where it was named. A default that the job began with stays its own; one that the spec no longer names does not."""
    named, had = seen.job.spec.image, seen.job.status.image
    if anew:
        before = seen.pinned.content().get("imageFrom") if seen.pinned is not None else None
        had = "" if before == _SPEC else had
        image = named or had or settings.default_image
    else:
        image = had or named or settings.default_image
    return image, _SPEC if image == named else _DEFAULT


def _build(image: str, config: dict[str, Any]) -> str:
    """A hash of what must be the same in every member."""
    content = json.dumps([image, CONTRACT_VERSION, config["training"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
