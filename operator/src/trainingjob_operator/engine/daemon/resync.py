"""The known resources of a kind compared with those that there are. Effect: lists.

kopf never tells of a deletion that it has missed, and may go deaf.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any
from urllib.parse import urlencode

from trainingjob_operator.engine.cluster.api import METADATA_LIST_ONLY, Api, Unreachable
from trainingjob_operator.engine.cluster.informer import PAGE
from trainingjob_operator.engine.cluster.lease import RETRY_SECONDS
from trainingjob_operator.engine.cluster.writes import refresh
from trainingjob_operator.engine.objects import Objects
from trainingjob_operator.engine.values import Manifest, ResourceKey, version_of

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""A watch that has not told of a change after so long is deaf."""


class Resync:
    """Looks at all resources of one kind, by itself."""

    def __init__(self, api: Api, objects: Objects[Any], wake: Callable[[ResourceKey], None], namespaces: Collection[str] = ()) -> None:
        """Restrict to `namespaces`; empty means all."""
        self._api = api
        self._objects = objects
        self._wake = wake
        self._places = tuple(namespaces) or (None,)
        self.deaf = False
        """At the last look there were resources of which the watch had not told."""

    async def fill(self) -> None:
        """Know all resources as they are now, however long that takes."""
        while True:
            try:
                await self._list(self._objects.put)
                return
            except Unreachable as error:
                logger.warning("the %s cannot be listed: %s", self._objects.resource.plural, error or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def keep(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Unreachable as error:
                logger.warning("the %s cannot be listed: %s", self._objects.resource.plural, error or type(error).__name__)

    async def look(self) -> None:
        """Find out what was missed, by the resources' versions; every one that there is gets a pass.

        Raises:
            As Api.call.
        """
        found: dict[ResourceKey, int] = {}

        def note(manifest: Manifest) -> None:
            found[self._objects.key_of(manifest)] = version_of(manifest)

        await self._list(note, METADATA_LIST_ONLY)
        if self._behind(found):
            await asyncio.sleep(GRACE_SECONDS)
        behind = self._behind(found)
        self.deaf = bool(behind)
        if behind:
            plural = self._objects.resource.plural
            logger.warning("the watch of the %s is deaf: it has not told of %d of %d", plural, len(behind), len(found))
        for key in behind:
            await refresh(self._api, self._objects, key, new=True)
        for key in self._objects:
            self._wake(key)

    def _behind(self, found: dict[ResourceKey, int]) -> list[ResourceKey]:
        """Resources of which something older is known, or nothing; one that has gone meanwhile is none of them."""
        return [key for key, version in found.items() if (known := self._objects.get(key)) is None or known.version < version]

    async def _list(self, take: Callable[[Manifest], None], accept: str = "application/json") -> None:
        """Every resource that there is goes to `take`; those that are not there any more are dropped."""
        missing, versions = set(self._objects), set()
        async for page in self._pages(accept):
            versions.add(version_of(page))
            for manifest in page.get("items") or ():
                missing.discard(self._objects.key_of(manifest))
                take(manifest)
        for key in missing:
            known = self._objects.get(key)
            if known is not None and known.version <= min(versions):
                self._objects.drop(key, known.uid)

    async def _pages(self, accept: str) -> AsyncIterator[Manifest]:
        for place in self._places:
            query: dict[str, Any] = {"limit": PAGE}
            while True:
                page = await self._api.call("GET", self._objects.resource.path(place), query=urlencode(query), accept=accept)
                yield page
                query["continue"] = page["metadata"].get("continue")
                if not query["continue"]:
                    break
