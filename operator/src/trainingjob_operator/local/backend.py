"""The cluster port over a folder and local processes: the same Observed and the same Plan as in Kubernetes.

Effects. It must not decide anything about a job: it does what the plan says, in the plan's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.identity import Identity, derive
from trainingjob_operator.controllers.training_job.state import Observed, Plan
from trainingjob_operator.controllers.training_job.streams.link import Link
from trainingjob_operator.controllers.training_job.streams.watch import Watch
from trainingjob_operator.engine.values import Deletion, Event, ResourceKey
from trainingjob_operator.local.environment import LOOPBACK
from trainingjob_operator.local.jobs import DIRECTORY_ANNOTATION, WORKING_ANNOTATION, LocalJobs
from trainingjob_operator.local.objects import LocalObjects
from trainingjob_operator.local.pods import LocalPods


class LocalCluster:
    """Holds the jobs that this process is in charge of (see folder.in_charge)."""

    def __init__(
        self,
        jobs: LocalJobs,
        operator_key: bytes,
        caller: Mapping[str, str],
        wake: Callable[[ResourceKey], None],
        on_events: Callable[[ResourceKey, tuple[Event, ...]], None] | None = None,
    ) -> None:
        """`caller` is the environment that the workers see beneath their own; `wake` is called when a pass is worth making."""
        self._jobs = jobs
        self._operator_key = operator_key
        self._caller = caller
        self._wake = wake
        self._on_events = on_events
        self._pods: dict[ResourceKey, LocalPods] = {}
        self._links: dict[ResourceKey, Link] = {}
        self._watches: dict[ResourceKey, Watch] = {}

    async def observe(self, key: ResourceKey) -> Observed | None:
        """What there is now; None if the job is gone."""
        manifest = self._jobs.read(key)
        if manifest is None:
            self._watches.pop(key, None)
            return None
        job = TrainingJob.model_validate(manifest)
        objects = LocalObjects(self._jobs.folder(key))
        port = objects.port() if any(kind == "Service" for kind, _ in objects.names()) else None
        address = None if port is None else f"{LOOPBACK}:{port}"
        pods = self.pods(key).observe()
        link = self._links.get(key)
        unheard, connecting = self._watches.setdefault(key, Watch()).look(link)
        return Observed(
            job=job,
            pods=pods,
            objects=objects.names(),
            pinned=objects.pinned(job.status.revision),
            rendezvous_address=address,
            report=None if link is None else link.report(job.status.rendezvous.epoch),
            reporting=link is not None and link.reporting,
            unheard_seconds=unheard,
            connecting=connecting,
            silent_seconds={} if link is None else link.silences(pods, job.spec.recovery.startup_timeout_seconds),
        )

    async def act(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Carry the plan out: status, creations, deletions, intent, events. The job's folder stays, even if the plan deletes the job."""
        if plan.status != seen.job.status:
            self._jobs.write_status(key, plan.status.to_object())
        for manifest in plan.create:
            if manifest["kind"] == "Pod":
                self.pods(key).create(manifest)
            else:
                LocalObjects(self._jobs.folder(key)).create(manifest, pods=bool(seen.pods))
        for deletion in plan.delete:
            self._delete(key, deletion)
        await self._tell(key, seen, plan)
        if plan.events:
            if self._on_events is not None:
                self._on_events(key, plan.events)
            self._jobs.add_events(key, plan.events)

    def pods(self, key: ResourceKey) -> LocalPods:
        """The keeper of the job's processes."""
        if key not in self._pods:
            manifest = self._jobs.read(key) or {}
            places = manifest.get("metadata", {}).get("annotations", {})
            directory, working = (_existing(places.get(name)) for name in (DIRECTORY_ANNOTATION, WORKING_ANNOTATION))
            self._pods[key] = LocalPods(self._jobs.folder(key), self._caller, directory, lambda: self._wake(key), working)
        return self._pods[key]

    async def close(self) -> None:
        """Stop watching and talking; the pods go on."""
        for link in self._links.values():
            await link.close()
        for pods in self._pods.values():
            pods.close()
        self._links.clear()
        self._pods.clear()

    def _delete(self, key: ResourceKey, deletion: Deletion) -> None:
        if deletion.kind == "Pod":
            self.pods(key).delete(deletion.name, deletion.grace_seconds)
        else:
            LocalObjects(self._jobs.folder(key)).delete(deletion.kind, deletion.name)

    async def _tell(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Keep one stream to the present rendezvous while there is something to tell it."""
        if plan.is_first_half():
            return
        link = self._links.get(key)
        if link is not None and (plan.intent is None or link.address != seen.rendezvous_address):
            await self._links.pop(key).close()
            link = None
        if plan.intent is None or seen.rendezvous_address is None:
            return
        if link is None:
            link = self._links[key] = Link(seen.rendezvous_address, self._identity(seen), lambda: self._wake(key))
        link.tell(plan.intent)

    def _identity(self, seen: Observed) -> Identity:
        return derive(self._operator_key, seen.job.metadata.uid)


def _existing(folder: str | None) -> Path:
    """Return the folder; the caller's own where there is none of that name (any more)."""
    return Path(folder if folder and Path(folder).is_dir() else ".").absolute()
