"""What the operator keeps of a TrainingJob. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from trainingjob_api.resource import Metadata, TrainingJob
from trainingjob_api.spec.errors import explain
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.engine.values import Manifest, ResourceKey, version_of

MAX_PROBLEM = 1000
_STAND_IN = JobSpec.model_validate(
    {
        "training": {"task": {"class": "unreadable:Manifest"}, "epochs": 1},
        "checkpoint": {"storage": {"uri": "file:///unreadable"}},
    }
)
"""In the place of a spec that cannot be read; nothing is concluded from it."""


@dataclass(frozen=True)
class KnownJob:
    """A TrainingJob."""

    job: TrainingJob
    version: int
    written: frozenset[str] = frozenset()
    """The fields that its status has; of the others the model knows a default, and nobody else does."""
    problem: str = ""
    """Why its manifest cannot be read."""

    @property
    def key(self) -> ResourceKey:
        """Its kind, namespace and name."""
        return job_key(self.job.metadata.namespace, self.job.metadata.name)

    @property
    def uid(self) -> str:
        """Its uid."""
        return self.job.metadata.uid


def read(manifest: Manifest) -> KnownJob:
    """The job; one whose spec is not valid has `problem`, and a stand-in for the spec."""
    written = frozenset(manifest.get("status") or ())
    try:
        return KnownJob(TrainingJob.from_object(manifest), version_of(manifest), written)
    except ValidationError as error:
        problem = "; ".join(explain(error, TrainingJob))[:MAX_PROBLEM]
    # What can be wrong with the metadata is its name; it is told of all the same.
    named = Metadata.model_validate({**manifest["metadata"], "name": "unreadable"})
    metadata = named.model_copy(update={"name": manifest["metadata"]["name"]})
    status = Status.model_validate(manifest.get("status") or {})
    return KnownJob(TrainingJob.model_construct(metadata=metadata, spec=_STAND_IN, status=status), version_of(manifest), written, problem)
