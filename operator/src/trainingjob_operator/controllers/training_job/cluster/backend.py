"""The controller of TrainingJobs on an API server: the same Observed and the same Plan as for local processes. Effects.

It must not decide anything about a job: it does what the plan says, in the plan's order. It never tries again: an error ends the pass,
and the next one looks anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import Metric

from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.service import address
from trainingjob_operator.controllers.training_job.cluster import known, metrics
from trainingjob_operator.controllers.training_job.cluster.children import JobChildren
from trainingjob_operator.controllers.training_job.cluster.known import KnownJob
from trainingjob_operator.controllers.training_job.identity import choose, derive
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.reasons import FOLDED
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS, Observed, Plan, Role
from trainingjob_operator.controllers.training_job.streams.link import Link
from trainingjob_operator.controllers.training_job.streams.watch import Watch
from trainingjob_operator.engine.cluster.api import Api
from trainingjob_operator.engine.cluster.controller import Tools
from trainingjob_operator.engine.cluster.informer import Informer
from trainingjob_operator.engine.cluster.writes import Writes
from trainingjob_operator.engine.objects import Objects
from trainingjob_operator.engine.values import Manifest, ResourceKey


class KubernetesCluster:
    """All jobs of a cluster."""

    def __init__(
        self, api: Api, settings: Settings, wake: Callable[[ResourceKey], None], may_act: Callable[[], bool] = lambda: True
    ) -> None:
        """`wake` is called when a pass is worth making; `may_act` is asked before any rendezvous is told anything."""
        self._settings = settings
        self._wake = wake
        self._may_act = may_act
        self.objects: Objects[KnownJob] = Objects(TRAINING_JOBS, known.read, wake)
        self.children = JobChildren(api, wake, settings.namespaces, watch_nodes=settings.watch_nodes)
        self._writes = Writes(api, self.objects, self.children, wake, FOLDED)
        self._links: dict[ResourceKey, tuple[tuple[str, int], Link]] = {}
        """Job -> the uid and epoch that the stream is for, and the stream."""
        self._watches: dict[ResourceKey, tuple[str, Watch]] = {}
        """Job -> its uid, and since when it is looked at."""
        self._owed: dict[ResourceKey, tuple[Observed, Plan]] = {}
        """Job -> a plan whose children were created, and whose status could not be written yet."""

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """Those of the jobs' children, and of the nodes."""
        return self.children.informers

    async def observe(self, key: ResourceKey) -> Observed | None:
        """What there is now; None if the job is gone."""
        await self._settle(key)
        found = self.objects.get(key)
        if found is None:
            self._writes.forget(key)
            await self._unlink(key)
            self._watches.pop(key, None)
            return None
        job, now = found.job, datetime.now(UTC)
        uid = job.metadata.uid
        pods, objects = self.children.pods(key, uid, now), self.children.others(key, uid)
        pinned = self.children.pinned(key, uid, job.status.revision)
        port = self._settings.rendezvous_port if pinned is None else pinned.port
        link = self._link(key, uid, job.status.rendezvous.epoch)
        unheard, connecting = self._look(key, uid)
        return Observed(
            job=job,
            pods=pods,
            objects=objects,
            pinned=pinned,
            rendezvous_address=address(job, port) if any(kind == "Service" for kind, _ in objects) else None,
            report=None if link is None else link.report(job.status.rendezvous.epoch),
            reporting=link is not None and link.reporting,
            unheard_seconds=unheard,
            connecting=connecting,
            silent_seconds={} if link is None else link.silences(pods, job.spec.recovery.startup_timeout_seconds),
            problem=found.problem,
            refused=self._writes.refused(key),
            closing=self._writes.is_closing(key, uid),
            children_first=True,
            inherited=not self._writes.has_finished(key, uid),
        )

    def plan(self, seen: Observed, now: datetime) -> Plan:
        """Return what is to be done."""
        return plan(seen, self._settings, now)

    async def act(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Carry the plan out: status, creations, deletions, intent, events.

        Raises:
            StaleError: the job has changed meanwhile.
            Otherwise as Api.call.
        """
        await self._writes.carry_out(key, seen.job.metadata.uid, self._carry_out(key, seen, plan))

    def metrics(self) -> Iterable[Metric]:
        """Return the jobs' figures, and how many streams there are."""
        return metrics.figures(self.objects.all(), (len(self._links), sum(link.standing for _, link in self._links.values())))

    async def close(self) -> None:
        """End all streams; the jobs go on."""
        await asyncio.gather(*(link.close() for _, link in self._links.values()))
        self._links.clear()

    async def _carry_out(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        uid = seen.job.metadata.uid
        if plan.children_first:
            await self._create_then_note(key, seen, plan)
        else:
            await self._note_then_create(key, seen, plan)
        if not plan.is_first_half():
            await self._writes.delete(key, plan.delete)
            if plan.delete_job:
                await self._writes.delete_resource(key, uid)
            await self._tell(key, seen, plan)
        await self._writes.post(key, uid, plan.events)

    async def _note_then_create(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Write the status, then create the children that it names, unless only the next pass is to create them."""
        if plan.intent is not None and self._link(key, seen.job.metadata.uid, plan.intent.epoch) is None:
            await self._tell(key, seen, plan)  # a stream takes its time to stand, and what it is told is in the status already
        if plan.status != seen.job.status:
            await self._write_status(key, seen, plan)
        if not plan.is_first_half():
            await self._writes.create(key, plan.create, _is_worker)

    async def _create_then_note(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Create the children, then write the status that names them. It stays owed if a creation fails, which may have taken place."""
        self._owed[key] = seen, plan
        await self._writes.create(key, plan.create, _is_worker)
        await self._settle(key)

    async def _settle(self, key: ResourceKey) -> None:
        """Write the status that names created children, whatever else has changed about the job: nothing is decided before that.

        Raises:
            StaleError: the job has changed meanwhile; the next try sees that.
        """
        found = self.objects.get(key)
        if key not in self._owed:
            return
        seen, plan = self._owed[key]
        if found is not None and found.uid == seen.job.metadata.uid and found.job.status == seen.job.status:
            await self._write_status(key, replace(seen, job=found.job), plan)
        del self._owed[key]

    async def _write_status(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        job = seen.job
        await self._writes.status(key, job.metadata.resource_version, job.status.to_object(), plan.status.to_object())

    async def _tell(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """Keep one stream to the present epoch's rendezvous while there is something to tell it."""
        if plan.intent is None or seen.rendezvous_address is None:
            await self._unlink(key)
            return
        uid, epoch = seen.job.metadata.uid, plan.intent.epoch
        link = self._link(key, uid, epoch)
        if link is None:
            await self._unlink(key)
            identity = derive(choose(self._settings.keys, plan.status.key_id), uid)
            link = Link(seen.rendezvous_address, identity, lambda: self._wake(key), self._may_act)
            self._links[key] = ((uid, epoch), link)
        link.tell(plan.intent)

    def _look(self, key: ResourceKey, uid: str) -> tuple[float, bool]:
        """Return how long the job has not been heard, be it of a former epoch, and whether its first stream is being opened."""
        known = self._watches.get(key)
        if known is None or known[0] != uid:
            known = self._watches[key] = uid, Watch()
        found = self._links.get(key)
        return known[1].look(found[1] if found is not None and found[0][0] == uid else None)

    def _link(self, key: ResourceKey, uid: str, epoch: int) -> Link | None:
        found = self._links.get(key)
        return found[1] if found is not None and found[0] == (uid, epoch) else None

    async def _unlink(self, key: ResourceKey) -> None:
        found = self._links.pop(key, None)
        if found is not None:
            await found[1].close()


def make(tools: Tools[Settings]) -> KubernetesCluster:
    """Make the controller of TrainingJobs."""
    return KubernetesCluster(tools.api, tools.settings, tools.wake, tools.may_act)


def _is_worker(manifest: Manifest) -> bool:
    return manifest["kind"] == "Pod" and bool(manifest["metadata"]["labels"][names.ROLE_LABEL] == Role.WORKER)
