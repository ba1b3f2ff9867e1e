"""A copy of all objects of one kind, kept by list and watch. Effect: one stream.

Of every object only `project(object)` is kept. A list taken anew is compared with what was known, so that a deletion missed in between
is told like any other; what was written in the meantime and is newer than the list stays. What the operator itself writes is
put in at once (`put`), so it reads its own writes. Resource versions of one kind are compared as numbers (Kubernetes, KEP-5504).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from trainingjob_api.backoff import Backoff
from trainingjob_operator.engine.cluster.api import METADATA_LIST_ONLY, METADATA_ONLY, Api, ApiError, Unreachable
from trainingjob_operator.engine.resources import Resource
from trainingjob_operator.engine.values import Manifest, version_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
Name = tuple[str, str]
"""Namespace ("" where there is none) and name."""

PAGE = 500
WATCH_SECONDS = 290
PAUSE = Backoff(first=0.2, longest=15.0, high=1.0)
_GONE = 410


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One object, as far as it is kept."""

    uid: str
    version: int
    value: T


class Informer(Generic[T]):
    """All objects of one kind with a label, as `project` sees them."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        project: Callable[[Manifest], T],
        changed: Callable[[T | None, T | None], None],
        *,
        namespace: str | None = None,
        selector: str = "",
        metadata_only: bool = False,
    ) -> None:
        """Of one namespace, or of all.

        `changed` is told what a value was and is now (None: absent), in the order of the changes, and must not fail.
        """
        self._api = api
        self._resource = resource
        self._path = resource.path(namespace)
        self._project = project
        self._changed = changed
        self._selector = selector
        self._metadata_only = metadata_only
        self._entries: dict[Name, Entry[T]] = {}
        self._reached = 0
        """The version up to which everything has been seen."""
        self.synced = asyncio.Event()
        self.heard = time.monotonic()
        """When the server was last heard."""
        self._asked = asyncio.Event()
        """For a list, though the watch stands."""

    def get(self, namespace: str, name: str) -> T | None:
        """What is known of one object."""
        entry = self._entries.get((namespace, name))
        return None if entry is None else entry.value

    def values(self) -> Iterator[T]:
        """What is known of all objects."""
        return (entry.value for entry in self._entries.values())

    def put(self, manifest: Manifest) -> None:
        """Take in an object that the server has just answered with, unless something newer is known."""
        name, version = _name(manifest), version_of(manifest)
        if name not in self._entries and version <= self._reached:
            return  # it has been deleted since
        self._take(manifest)

    def drop(self, namespace: str, name: str, uid: str | None = None) -> None:
        """The object is gone, if it is still the one with this uid."""
        known = self._entries.get((namespace, name))
        if known is not None and uid in (None, known.uid):
            del self._entries[namespace, name]
            self._changed(known.value, None)

    async def renew(self) -> None:
        """List once more, now; returns when that has been done. While `run` runs."""
        self.synced.clear()
        self._asked.set()
        await self.synced.wait()

    async def run(self) -> None:
        """Keep the copy for ever."""
        failures, listed = 0, False
        while True:
            began = time.monotonic()
            try:
                if self._asked.is_set():
                    self._asked.clear()
                    listed = False
                if not listed:
                    await self._list()
                    listed = True
                await self._watch_until_asked()
                failures = 0
                if self._asked.is_set():
                    continue
            except ApiError as error:
                listed = listed and error.status != _GONE
                failures = 0 if error.status == _GONE else self._failed(failures, began)
                logger.log(logging.WARNING if failures else logging.INFO, "%s: %s", self._resource.plural, error)
            except Unreachable as error:
                failures = self._failed(failures, began)
                logger.warning("%s: the API server does not answer: %s", self._resource.plural, error or type(error).__name__)
            await asyncio.sleep(PAUSE.seconds(failures + 1, random.random()))

    def _failed(self, failures: int, began: float) -> int:
        """Failures in a row: where the server was heard before the connection broke, this is the first one."""
        return 1 if self.heard > began else failures + 1

    def _hear(self) -> None:
        self.heard = time.monotonic()

    async def _list(self) -> None:
        found: set[Name] = set()
        query: dict[str, object] = {"limit": PAGE} | self._selection()
        while True:
            accept = METADATA_LIST_ONLY if self._metadata_only else "application/json"
            page = await self._api.call("GET", self._path, query=urlencode(query), accept=accept)
            for manifest in page.get("items") or ():
                found.add(_name(manifest))
                self._take(manifest)
            self._hear()
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        self._reached = max(self._reached, version_of(page))
        for name in [name for name, entry in self._entries.items() if name not in found and entry.version <= self._reached]:
            self.drop(*name)
        self.synced.set()

    async def _watch_until_asked(self) -> None:
        watching, asked = asyncio.create_task(self._watch()), asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait((watching, asked), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            for task in (watching, asked):
                task.cancel()
            await asyncio.gather(watching, asked, return_exceptions=True)

    async def _watch(self) -> None:
        query = self._selection() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._reached,
            "timeoutSeconds": WATCH_SECONDS,
        }
        accept = METADATA_ONLY if self._metadata_only else "application/json"
        async for event in self._api.watch(self._path, urlencode(query), accept, opened=self._hear):
            self._hear()
            manifest = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(int(manifest.get("code") or 500), manifest.get("reason") or "WatchError", manifest.get("message") or "")
            if event["type"] == "DELETED":
                self.drop(*_name(manifest), manifest["metadata"].get("uid"))
            elif event["type"] != "BOOKMARK":
                self._take(manifest)
            self._reached = max(self._reached, version_of(manifest))

    def _take(self, manifest: Manifest) -> None:
        name, version = _name(manifest), version_of(manifest)
        uid = manifest["metadata"].get("uid", "")
        known = self._entries.get(name)
        if known is not None and known.version >= version:
            return
        if known is not None and known.uid != uid:
            self.drop(*name)  # another object under the same name
            known = None
        value = self._project(manifest)
        self._entries[name] = Entry(uid, version, value)
        if known is None or known.value != value:
            self._changed(None if known is None else known.value, value)

    def _selection(self) -> dict[str, object]:
        return {"labelSelector": self._selector} if self._selector else {}


class Informers(Generic[T]):
    """The informers of one kind: one for each namespace that is watched, or a single one for all of them."""

    def __init__(self, make: Callable[[str | None], Informer[T]], namespaces: Collection[str] = ()) -> None:
        """`make` is asked for the informer of a namespace, or of all (None)."""
        self._each = {namespace: make(namespace) for namespace in namespaces or (None,)}

    def at(self, namespace: str) -> Informer[T]:
        """The one that knows this namespace."""
        found = self._each.get(namespace)
        return self._each[None] if found is None else found

    def __iter__(self) -> Iterator[Informer[T]]:
        return iter(self._each.values())


def _name(manifest: Manifest) -> Name:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


async def synced(informers: Iterable[Informer[Any]]) -> None:
    """Wait until all that there is has been seen once."""
    await asyncio.gather(*(informer.synced.wait() for informer in informers))
