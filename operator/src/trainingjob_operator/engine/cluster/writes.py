"""What a controller writes for one of its resources: status, children, deletions, events. Effects.

It never tries again: an error ends the pass, and the next one looks anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from trainingjob_operator.engine.cluster.api import MERGE_PATCH, Api, ApiError, ClosingError
from trainingjob_operator.engine.cluster.children import Children
from trainingjob_operator.engine.cluster.events import Events
from trainingjob_operator.engine.cluster.patch import merge_patch
from trainingjob_operator.engine.objects import Objects
from trainingjob_operator.engine.values import Deletion, Event, Manifest, ResourceKey

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CALLS = 32
"""Writes under way at a time."""
_NOT_TAKEN = frozenset({400, 403, 404, 422})
"""Answers that tell of the object, not of the moment."""


class StaleError(Exception):
    """The resource has changed since it was looked at; the pass is to be made again."""


class Writes:
    """The writes for all resources of one kind, and what became of them."""

    def __init__(
        self, api: Api, objects: Objects[Any], children: Children, wake: Callable[[ResourceKey], None], folded: frozenset[str] = frozenset()
    ) -> None:
        """`wake` is called when a pass is worth making. Of events with a reason in `folded` there is one, which counts."""
        self._api = api
        self._objects = objects
        self._children = children
        self._wake = wake
        self._events = Events(api, objects.resource, folded)
        self._refused: dict[ResourceKey, str] = {}
        self._closing: dict[ResourceKey, str] = {}
        """Resource -> its uid, where its namespace is known to be on its way out."""
        self._finished: dict[ResourceKey, str] = {}
        """Resource -> its uid, where this operator has carried out a pass whole."""
        self._calls = asyncio.Semaphore(_CALLS)

    def refused(self, key: ResourceKey) -> str:
        """Return why a child that is to exist is not taken; "" if all are."""
        return self._refused.get(key, "")

    def is_closing(self, key: ResourceKey, uid: str) -> bool:
        """Nothing can be made for the resource any more, since all around it is being deleted."""
        return self._closing.get(key) == uid

    def has_finished(self, key: ResourceKey, uid: str) -> bool:
        """This operator has carried out a pass over the resource whole."""
        return self._finished.get(key) == uid

    def forget(self, key: ResourceKey) -> None:
        """The resource is gone."""
        self._refused.pop(key, None)
        self._closing.pop(key, None)
        self._finished.pop(key, None)
        self._children.forget(key)

    async def carry_out(self, key: ResourceKey, uid: str, steps: Coroutine[Any, Any, None]) -> None:
        """Await the writes of one pass, which may end early where the namespace is being deleted.

        Raises:
            What the writes raise.
        """
        try:
            await steps
            self._finished[key] = uid
        except ClosingError as error:
            self._closing[key] = uid
            self._wake(key)
            logger.info("%s: nothing more is made: %s", key, error.message)

    async def status(self, key: ResourceKey, version: str, before: Manifest, after: Manifest) -> None:
        """Write the status `after` where `before` is what was read at this version.

        Raises:
            StaleError: the resource has changed meanwhile; it has been read again.
            Otherwise as Api.call.
        """
        known = self._objects.get(key)
        written = known.written if known is not None else frozenset()
        changes = merge_patch({field: value for field, value in before.items() if field in written}, after)
        path = self._objects.resource.path(key.namespace, key.name, "status")
        patch = {"metadata": {"resourceVersion": version}, "status": changes}
        try:
            self._objects.renew(await self._api.call("PATCH", path, body=patch, content_type=MERGE_PATCH))
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            await refresh(self._api, self._objects, key)
            raise StaleError(str(key)) from error

    async def create(
        self, key: ResourceKey, manifests: Iterable[Manifest], is_alike: Callable[[Manifest], bool] = lambda manifest: False
    ) -> None:
        """Create children in order; then one of those that are alike, then the others of them at once.

        Raises:
            As Api.call, but for refusals, which are kept (`refused`).
        """
        manifests = tuple(manifests)
        before, refusals = self.refused(key), []
        alike = [manifest for manifest in manifests if is_alike(manifest)]
        for manifest in manifests:
            if not is_alike(manifest):
                refusals.append(await self._take(key, manifest))
        if alike and not any(refusals):
            refusals.append(await self._take(key, alike[0]))  # where one is refused, so are the others
        if not any(refusals):
            refusals += await together(self._take(key, manifest) for manifest in alike[1:])
        refused = next((refusal for refusal in refusals if refusal), "")
        if refused:
            self._refused[key] = refused
        else:
            self._refused.pop(key, None)
        if refused != before:
            self._wake(key)  # to have it told

    async def delete(self, key: ResourceKey, deletions: Iterable[Deletion]) -> None:
        """Delete children."""
        await together(self._delete(key, deletion) for deletion in deletions)

    async def delete_resource(self, key: ResourceKey, uid: str) -> None:
        """Delete the resource itself; one that is gone, or another of its name, is left alone."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        async with self._calls:
            try:
                await self._api.call("DELETE", self._objects.resource.path(key.namespace, key.name), body=options)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise

    async def post(self, key: ResourceKey, uid: str, events: tuple[Event, ...]) -> None:
        """Post events of the resource."""
        if events:
            await self._events.post(key, uid, events, datetime.now(UTC))

    async def _take(self, key: ResourceKey, manifest: Manifest) -> str:
        """Create one child. Return why the API server does not take it, "" if it does."""
        async with self._calls:
            try:
                await self._children.create(key, manifest)
            except ApiError as error:
                if error.status not in _NOT_TAKEN or isinstance(error, ClosingError):
                    raise
                return error.message
        return ""

    async def _delete(self, key: ResourceKey, deletion: Deletion) -> None:
        async with self._calls:
            await self._children.delete(key.namespace, deletion)


async def refresh(api: Api, objects: Objects[Any], key: ResourceKey, *, new: bool = False) -> None:
    """Read a resource again; `new`: also one that is not known yet."""
    take = objects.put if new else objects.renew
    try:
        take(await api.call("GET", objects.resource.path(key.namespace, key.name)))
    except ApiError as error:
        if error.status != 404:
            raise
        objects.drop(key)


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all at once, each to its end: none is left under way when the pass ends early.

    Raises:
        The first error.
    """
    found = await asyncio.gather(*calls, return_exceptions=True)
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in found if not isinstance(answer, BaseException)]
