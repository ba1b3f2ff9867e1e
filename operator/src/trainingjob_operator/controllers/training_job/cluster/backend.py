"""The cluster port over an API server: the same Observed and the same Plan as for local processes. Effects.

It must not decide anything about a job: it does what the plan says, in the plan's order. It never tries again: an error ends the pass,
and the next one looks anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.service import address
from trainingjob_operator.controllers.training_job.cluster.children import Children
from trainingjob_operator.controllers.training_job.identity import choose, derive
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Deletion, JobKey, Manifest, Observed, Plan, Role
from trainingjob_operator.controllers.training_job.streams.link import Link
from trainingjob_operator.engine.api import MERGE_PATCH, Api, ApiError, ClosingError
from trainingjob_operator.engine.events import Events
from trainingjob_operator.engine.objects import Jobs
from trainingjob_operator.engine.patch import merge_patch
from trainingjob_operator.engine.resources import TRAINING_JOBS

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CALLS = 32
"""Writes under way at a time."""
_NOT_TAKEN = frozenset({400, 403, 404, 422})
"""Answers that tell of the object, not of the moment."""


class StaleError(Exception):
    """The job has changed since it was looked at; the pass is to be made again."""


class KubernetesCluster:
    """All jobs of a cluster."""

    def __init__(self, api: Api, settings: Settings, wake: Callable[[JobKey], None], may_act: Callable[[], bool] = lambda: True) -> None:
        """`wake` is called when a pass is worth making; `may_act` is asked before any rendezvous is told anything."""
        self._api = api
        self._settings = settings
        self._wake = wake
        self._may_act = may_act
        self.jobs = Jobs(wake)
        self.children = Children(api, wake, settings.namespaces, watch_nodes=settings.watch_nodes)
        self._events = Events(api)
        self._links: dict[JobKey, tuple[tuple[str, int], Link]] = {}
        """Job -> the uid and epoch that the stream is for, and the stream."""
        self._refused: dict[JobKey, str] = {}
        self._closing: dict[JobKey, str] = {}
        """Job -> its uid, where its namespace is known to be on its way out."""
        self._finished: dict[JobKey, str] = {}
        """Job -> its uid, where this operator has carried out a pass whole."""
        self._owed: dict[JobKey, tuple[Observed, Plan]] = {}
        """Job -> a plan whose children were created, and whose status could not be written yet."""
        self._calls = asyncio.Semaphore(_CALLS)

    async def observe(self, key: JobKey) -> Observed | None:
        """What there is now; None if the job is gone."""
        await self._settle(key)
        known = self.jobs.get(key)
        if known is None:
            await self._forget(key)
            return None
        job, now = known.job, datetime.now(UTC)
        uid = job.metadata.uid
        pods, objects = self.children.pods(key, uid, now), self.children.objects(key, uid)
        pinned = self.children.pinned(key, uid, job.status.revision)
        port = self._settings.rendezvous_port if pinned is None else pinned.port
        link = self._link(key, uid, job.status.rendezvous.epoch)
        return Observed(
            job=job,
            pods=pods,
            objects=objects,
            pinned=pinned,
            rendezvous_address=address(job, port) if any(kind == "Service" for kind, _ in objects) else None,
            report=None if link is None else link.report(job.status.rendezvous.epoch),
            reporting=link is not None and link.reporting,
            unheard_seconds=0.0 if link is None else link.unheard_seconds,
            connecting=link is None or link.connecting,
            silent_seconds={} if link is None else link.silences(pods, job.spec.recovery.startup_timeout_seconds),
            problem=known.problem,
            refused=self._refused.get(key, ""),
            closing=self._closing.get(key) == uid,
            children_first=True,
            inherited=self._finished.get(key) != uid,
        )

    async def act(self, key: JobKey, seen: Observed, plan: Plan) -> None:
        """Carry the plan out: status, creations, deletions, intent, events.

        Raises:
            StaleError: the job has changed meanwhile.
            Otherwise as Api.call.
        """
        try:
            await self._carry_out(key, seen, plan)
            self._finished[key] = seen.job.metadata.uid
        except ClosingError as error:
            self._closing[key] = seen.job.metadata.uid
            self._wake(key)
            logger.info("%s: nothing more is made: %s", key, error.message)

    async def _carry_out(self, key: JobKey, seen: Observed, plan: Plan) -> None:
        if plan.children_first:
            await self._create_then_note(key, seen, plan)
        else:
            await self._note_then_create(key, seen, plan)
        if not plan.is_first_half():
            await _all(self._delete(key, deletion) for deletion in plan.delete)
            if plan.delete_job:
                await self._delete_job(key, seen)
            await self._tell(key, seen, plan)
        if plan.events:
            await self._events.post(seen.job, plan.events, datetime.now(UTC))

    def wake(self, key: JobKey) -> None:
        """Ask for a pass over the job."""
        self._wake(key)

    async def refresh(self, key: JobKey, *, new: bool = False) -> None:
        """Read the job again; `new`: also one that is not known yet."""
        take = self.jobs.put if new else self.jobs.renew
        try:
            take(await self._api.call("GET", TRAINING_JOBS.path(key.namespace, key.name)))
        except ApiError as error:
            if error.status != 404:
                raise
            self.jobs.drop(key)

    async def close(self) -> None:
        """End all streams; the jobs go on."""
        await asyncio.gather(*(link.close() for _, link in self._links.values()))
        self._links.clear()

    def streams(self) -> tuple[int, int]:
        """How many streams there are, and how many stand."""
        return len(self._links), sum(link.standing for _, link in self._links.values())

    async def _note_then_create(self, key: JobKey, seen: Observed, plan: Plan) -> None:
        """Write the status, then create the children that it names, unless only the next pass is to create them."""
        if plan.intent is not None and self._link(key, seen.job.metadata.uid, plan.intent.epoch) is None:
            await self._tell(key, seen, plan)  # a stream takes its time to stand, and what it is told is in the status already
        if plan.status != seen.job.status:
            await self._write_status(key, seen, plan)
        if not plan.is_first_half():
            await self._create(key, plan.create)

    async def _create_then_note(self, key: JobKey, seen: Observed, plan: Plan) -> None:
        """Create the children, then write the status that names them. It stays owed if a creation fails, which may have taken place."""
        self._owed[key] = seen, plan
        await self._create(key, plan.create)
        await self._settle(key)

    async def _settle(self, key: JobKey) -> None:
        """Write the status that names created children, whatever else has changed about the job: nothing is decided before that.

        Raises:
            StaleError: the job has changed meanwhile; the next try sees that.
        """
        known = self.jobs.get(key)
        if key not in self._owed:
            return
        seen, plan = self._owed[key]
        if known is not None and known.job.metadata.uid == seen.job.metadata.uid and known.job.status == seen.job.status:
            await self._write_status(key, replace(seen, job=known.job), plan)
        del self._owed[key]

    async def _write_status(self, key: JobKey, seen: Observed, plan: Plan) -> None:
        known = self.jobs.get(key)
        written = known.written if known is not None else frozenset()
        before = {field: value for field, value in seen.job.status.to_object().items() if field in written}
        changes = merge_patch(before, plan.status.to_object())
        patch = {"metadata": {"resourceVersion": seen.job.metadata.resource_version}, "status": changes}
        path = TRAINING_JOBS.path(key.namespace, key.name, "status")
        try:
            self.jobs.renew(await self._api.call("PATCH", path, body=patch, content_type=MERGE_PATCH))
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            await self.refresh(key)
            raise StaleError(str(key)) from error

    async def _create(self, key: JobKey, manifests: tuple[Manifest, ...]) -> None:
        """Everything but the workers in order, then one worker, then the others at once."""
        before = self._refused.get(key, "")
        refusals = []
        first = [manifest for manifest in manifests if not _is_worker(manifest)]
        for manifest in first:
            refusals.append(await self._take(key, manifest))
        workers = [manifest for manifest in manifests if _is_worker(manifest)]
        if workers and not any(refusals):
            refusals.append(await self._take(key, workers[0]))  # where one is refused, so are the others: they are alike
        if not any(refusals):
            refusals += await _all(self._take(key, manifest) for manifest in workers[1:])
        refused = next((refusal for refusal in refusals if refusal), "")
        if refused:
            self._refused[key] = refused
        else:
            self._refused.pop(key, None)
        if self._refused.get(key, "") != before:
            self._wake(key)  # to have it told

    async def _take(self, key: JobKey, manifest: Manifest) -> str:
        """Make one child; why the API server does not take it, "" if it does."""
        async with self._calls:
            try:
                await self.children.create(key, manifest)
            except ApiError as error:
                if error.status not in _NOT_TAKEN or isinstance(error, ClosingError):
                    raise
                return error.message
        return ""

    async def _delete(self, key: JobKey, deletion: Deletion) -> None:
        async with self._calls:
            await self.children.delete(key.namespace, deletion)

    async def _delete_job(self, key: JobKey, seen: Observed) -> None:
        """Delete the job that the plan is about; one that is gone, or another of its name, is left alone."""
        options = {"preconditions": {"uid": seen.job.metadata.uid}, "propagationPolicy": "Background"}
        async with self._calls:
            try:
                await self._api.call("DELETE", TRAINING_JOBS.path(key.namespace, key.name), body=options)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise

    async def _tell(self, key: JobKey, seen: Observed, plan: Plan) -> None:
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

    def _link(self, key: JobKey, uid: str, epoch: int) -> Link | None:
        found = self._links.get(key)
        return found[1] if found is not None and found[0] == (uid, epoch) else None

    async def _unlink(self, key: JobKey) -> None:
        found = self._links.pop(key, None)
        if found is not None:
            await found[1].close()

    async def _forget(self, key: JobKey) -> None:
        self._refused.pop(key, None)
        self._closing.pop(key, None)
        self._finished.pop(key, None)
        self.children.forget(key)
        await self._unlink(key)


async def _all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once, each to its end: none is left under way when the pass ends early.

    Raises:
        The first error.
    """
    found = await asyncio.gather(*calls, return_exceptions=True)
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in found if not isinstance(answer, BaseException)]


def _is_worker(manifest: Manifest) -> bool:
    return manifest["kind"] == "Pod" and bool(manifest["metadata"]["labels"][names.ROLE_LABEL] == Role.WORKER)
