"""The known jobs compared with those that there are: kopf never tells of a deletion that it has missed, and may go deaf. Effect: lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any
from urllib.parse import urlencode

from trainingjob_operator.controllers.training_job.cluster.backend import KubernetesCluster
from trainingjob_operator.controllers.training_job.state import JobKey, Manifest
from trainingjob_operator.engine.api import METADATA_LIST_ONLY, Api, Unreachable
from trainingjob_operator.engine.informer import PAGE, version_of
from trainingjob_operator.engine.lease import RETRY_SECONDS
from trainingjob_operator.engine.objects import key_of
from trainingjob_operator.engine.resources import TRAINING_JOBS

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""A watch that has not told of a change after so long is deaf."""


class Resync:
    """Looks at all jobs, by itself."""

    def __init__(self, api: Api, cluster: KubernetesCluster, namespaces: Collection[str] = ()) -> None:
        """Those of `namespaces` if there are any."""
        self._api = api
        self._cluster = cluster
        self._places = tuple(namespaces) or (None,)
        self.deaf = False
        """At the last look there were jobs of which the watch had not told."""

    async def fill(self) -> None:
        """Know all jobs as they are now, however long that takes."""
        while True:
            try:
                await self._list(self._cluster.jobs.put)
                return
            except Unreachable as error:
                logger.warning("the jobs cannot be listed: %s", error or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def keep(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Unreachable as error:
                logger.warning("the jobs cannot be listed: %s", error or type(error).__name__)

    async def look(self) -> None:
        """Find out what was missed, by the jobs' versions; every job that there is gets a pass.

        Raises:
            As Api.call.
        """
        found: dict[JobKey, int] = {}

        def note(manifest: Manifest) -> None:
            found[key_of(manifest)] = version_of(manifest)

        await self._list(note, METADATA_LIST_ONLY)
        if self._behind(found):
            await asyncio.sleep(GRACE_SECONDS)
        behind = self._behind(found)
        self.deaf = bool(behind)
        if behind:
            logger.warning("the watch of the jobs is deaf: it has not told of %d of %d", len(behind), len(found))
        for key in behind:
            await self._cluster.refresh(key, new=True)
        for job in self._cluster.jobs.all():
            self._cluster.wake(job.key)

    def _behind(self, found: dict[JobKey, int]) -> list[JobKey]:
        """Jobs of which something older is known, or nothing; one that has gone meanwhile is none of them."""
        jobs = self._cluster.jobs
        return [key for key, version in found.items() if (known := jobs.get(key)) is None or known.version < version]

    async def _list(self, take: Callable[[Manifest], None], accept: str = "application/json") -> None:
        """Every job that there is goes to `take`; those that are not there any more are dropped."""
        missing, versions = {job.key for job in self._cluster.jobs.all()}, set()
        async for page in self._pages(accept):
            versions.add(version_of(page))
            for manifest in page.get("items") or ():
                missing.discard(key_of(manifest))
                take(manifest)
        for key in missing:
            known = self._cluster.jobs.get(key)
            if known is not None and known.version <= min(versions):
                self._cluster.jobs.drop(key, known.job.metadata.uid)

    async def _pages(self, accept: str) -> AsyncIterator[Manifest]:
        for place in self._places:
            query: dict[str, Any] = {"limit": PAGE}
            while True:
                page = await self._api.call("GET", TRAINING_JOBS.path(place), query=urlencode(query), accept=accept)
                yield page
                query["continue"] = page["metadata"].get("continue")
                if not query["continue"]:
                    break
