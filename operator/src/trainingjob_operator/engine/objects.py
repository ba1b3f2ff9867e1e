"""The TrainingJobs as kopf and the operator's own writes tell of them, read once per version. Pure memory, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from trainingjob_api.resource import Metadata, TrainingJob
from trainingjob_api.spec.errors import explain
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.state import JobKey, Manifest
from trainingjob_operator.engine.informer import version_of

MAX_PROBLEM = 1000
GONE = 1000
"""So many jobs that have gone are remembered: a list that was read before may tell of them after."""
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
    def key(self) -> JobKey:
        """Its namespace and name."""
        return JobKey(self.job.metadata.namespace, self.job.metadata.name)


def key_of(manifest: Manifest) -> JobKey:
    """The job's namespace and name."""
    return JobKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])


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


class Jobs:
    """All TrainingJobs."""

    def __init__(self, changed: Callable[[JobKey], None]) -> None:
        """`changed` is told of every job that is new, changed or gone."""
        self._changed = changed
        self._known: dict[JobKey, KnownJob] = {}
        self._gone: deque[str] = deque(maxlen=GONE)

    def get(self, key: JobKey) -> KnownJob | None:
        """The newest that is known of the job."""
        return self._known.get(key)

    def all(self) -> list[KnownJob]:
        """All jobs."""
        return list(self._known.values())

    def put(self, manifest: Manifest) -> None:
        """Take in an object, unless something newer is known: also that it has gone."""
        if manifest["metadata"]["uid"] in self._gone:
            return
        key = key_of(manifest)
        known = self._known.get(key)
        if known is not None and known.version >= version_of(manifest):
            return
        self._known[key] = read(manifest)
        self._changed(key)

    def renew(self, manifest: Manifest) -> None:
        """As `put`, for the answer to a call, which may come late: of a job that has gone meanwhile it tells nothing."""
        if key_of(manifest) in self._known:
            self.put(manifest)

    def drop(self, key: JobKey, uid: str | None = None) -> None:
        """The job is gone, if it is still the one with this uid."""
        known = self._known.get(key)
        if known is not None and uid in (None, known.job.metadata.uid):
            del self._known[key]
            self._gone.append(known.job.metadata.uid)
            self._changed(key)
