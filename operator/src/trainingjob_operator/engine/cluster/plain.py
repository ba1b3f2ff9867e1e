"""A controller that a kind, a table of children and a pure plan are enough for. Effects; it decides nothing about a resource."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client.core import Metric

from trainingjob_operator.engine.cluster.children import Children
from trainingjob_operator.engine.cluster.controller import Tools
from trainingjob_operator.engine.cluster.informer import Informer
from trainingjob_operator.engine.cluster.writes import Writes
from trainingjob_operator.engine.objects import Objects, Whole
from trainingjob_operator.engine.resources import ChildKind, Resource
from trainingjob_operator.engine.settings import EngineSettings
from trainingjob_operator.engine.values import Deletion, Event, Manifest, ResourceKey


@dataclass(frozen=True)
class Seen:
    """A resource and its children."""

    resource: Manifest
    children: Mapping[tuple[str, str], Any]
    """(kind, name) -> what the table says is kept of the child."""
    refused: str = ""
    """Why a child that is to exist is not taken by the API server."""
    closing: bool = False
    """Nothing can be made for the resource any more, since all around it is being deleted."""


@dataclass(frozen=True)
class Plan:
    """What one pass does, in this order: status, creations, deletions, events."""

    status: Manifest | None = None
    """None: as it is."""
    create: tuple[Manifest, ...] = ()
    """What is to exist, in the order of making; by POST or applied, as the table says."""
    delete: tuple[Deletion, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None


class PlainController:
    """The controller of one kind."""

    def __init__(
        self,
        tools: Tools[EngineSettings],
        kind: Resource,
        table: Collection[ChildKind[Any]],
        plan: Callable[[Seen, datetime], Plan],
        selector: str = "",
    ) -> None:
        """`plan` must be pure, total, and idempotent. Only children with the label `selector` are watched."""
        self.objects: Objects[Whole] = Objects(kind, Whole, tools.wake)
        self._children = Children(tools.api, kind, table, tools.wake, tools.settings.namespaces, selector=selector)
        self._writes = Writes(tools.api, self.objects, self._children, tools.wake)
        self._plan = plan

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """Those of the children."""
        return self._children.informers

    async def observe(self, key: ResourceKey) -> Seen | None:
        """Return what there is now; None if the resource is gone."""
        known = self.objects.get(key)
        if known is None:
            self._writes.forget(key)
            return None
        children = self._children.values(key, known.uid)
        return Seen(known.manifest, children, self._writes.refused(key), self._writes.is_closing(key, known.uid))

    def plan(self, seen: Seen, now: datetime) -> Plan:
        """Return what is to be done; nothing for a resource that is on its way out."""
        return Plan() if seen.closing or "deletionTimestamp" in seen.resource["metadata"] else self._plan(seen, now)

    async def act(self, key: ResourceKey, seen: Seen, plan: Plan) -> None:
        """Carry the plan out.

        Raises:
            StaleError: the resource has changed meanwhile.
            Otherwise as Api.call.
        """
        await self._writes.carry_out(key, seen.resource["metadata"]["uid"], self._carry_out(key, seen, plan))

    def metrics(self) -> Iterable[Metric]:
        """Return nothing: what there is to know differs from kind to kind."""
        return ()

    async def close(self) -> None:
        """Nothing is open."""

    async def _carry_out(self, key: ResourceKey, seen: Seen, plan: Plan) -> None:
        metadata, before = seen.resource["metadata"], seen.resource.get("status") or {}
        if plan.status is not None and plan.status != before:
            await self._writes.status(key, metadata["resourceVersion"], before, plan.status)
        await self._writes.create(key, plan.create)
        await self._writes.delete(key, plan.delete)
        await self._writes.post(key, metadata["uid"], plan.events)
