"""What the resources of one kind own: seen through informers, made, and deleted, as the controller's table of children says. Effects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from trainingjob_operator.engine.cluster.api import APPLY_PATCH, Api, ApiError
from trainingjob_operator.engine.cluster.informer import Informer, Informers
from trainingjob_operator.engine.resources import ChildKind, Made, Resource, Watched, owner
from trainingjob_operator.engine.values import Deletion, Manifest, ResourceKey

MANAGER = "trainingjob-operator"

T = TypeVar("T")


@dataclass(frozen=True)
class Child(Generic[T]):
    """An object that a resource controls."""

    owner: ResourceKey
    owner_uid: str
    kind: str
    name: str
    uid: str
    value: T
    """What the table says is kept of it."""


News = Callable[[Child[Any] | None, Child[Any] | None], None]
"""Told what a child was and is now (None: absent)."""


class Children:
    """All children of all resources of one kind."""

    def __init__(
        self,
        api: Api,
        of: Resource,
        table: Collection[ChildKind[Any]],
        wake: Callable[[ResourceKey], None],
        namespaces: Collection[str] = (),
        *,
        selector: str = "",
        news: News = lambda old, new: None,
    ) -> None:
        """`wake` is told of every resource whose children have changed, and `news` of every such change, after it has been taken in.

        Of `namespaces` if there are any, otherwise of all. Only children with the label `selector` are watched.
        """
        self._api = api
        self._of = of
        self._table = {kind.resource.kind: kind for kind in table}
        self._wake = wake
        self._news = news
        self._known: dict[str, defaultdict[ResourceKey, dict[str, Child[Any]]]] = {}
        self._remembered: dict[str, dict[ResourceKey, set[str]]] = {}
        """Names of what was created and is never read."""
        self._informers: dict[str, Informers[Child[Any] | None]] = {}
        for row in table:
            name = row.resource.kind
            if row.watched is Watched.NEVER:
                self._remembered[name] = {}
            else:
                self._known[name] = defaultdict(dict)
                self._informers[name] = Informers(partial(self._informer, row, selector), namespaces)

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """Those of all children that are watched, in the order of the table."""
        return tuple(informer for informers in self._informers.values() for informer in informers)

    def of(self, kind: str, key: ResourceKey, uid: str) -> Iterator[Child[Any]]:
        """The children of this kind of the resource with this uid."""
        return (child for child in self._known[kind].get(key, {}).values() if child.owner_uid == uid)

    def all_of(self, kind: str) -> dict[ResourceKey, dict[str, Child[Any]]]:
        """Every child of this kind, by owner and name."""
        return self._known[kind]

    def names(self, key: ResourceKey, uid: str, *, without: str = "") -> frozenset[tuple[str, str]]:
        """(kind, name) of all children of the resource with this uid, but for those of the kind `without`."""
        seen = {(child.kind, child.name) for kind in self._known if kind != without for child in self.of(kind, key, uid)}
        return frozenset(seen | {(kind, name) for kind, names in self._remembered.items() for name in names.get(key, ())})

    def values(self, key: ResourceKey, uid: str) -> dict[tuple[str, str], Any]:
        """(kind, name) of all children of the resource with this uid, with what is kept of each."""
        kept = {(kind, child.name): child.value for kind in self._known for child in self.of(kind, key, uid)}
        return dict.fromkeys(self.names(key, uid)) | kept

    def remembered(self, kind: str, key: ResourceKey) -> bool:
        """There is a child of a kind that is never read, as far as is known."""
        return key in self._remembered[kind]

    def remember(self, kind: str, key: ResourceKey, name: str) -> None:
        """There is a child of this name, of a kind that is never read."""
        self._remembered[kind].setdefault(key, set()).add(name)

    def forget(self, key: ResourceKey, kind: str | None = None) -> None:
        """Whether there are children of a kind that is never read (of any: None) is not known any more."""
        for name, known in self._remembered.items():
            if kind in (None, name):
                known.pop(key, None)

    async def create(self, key: ResourceKey, manifest: Manifest) -> None:
        """Make a child, or apply it if its kind may change. One that is there already is taken for what it is.

        Raises:
            As Api.call.
        """
        row, metadata = self._table[manifest["kind"]], manifest["metadata"]
        resource = row.resource
        try:
            if row.made is Made.APPLY:
                query = f"fieldManager={MANAGER}&force=true"
                path = resource.path(metadata["namespace"], metadata["name"])
                answer = await self._api.call("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH)
            else:
                answer = await self._api.call("POST", resource.path(metadata["namespace"]), body=manifest)
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
            answer = await self._existing(row, manifest)
        if row.watched is Watched.NEVER:
            self.remember(resource.kind, key, answer["metadata"]["name"])
        else:
            self._informers[resource.kind].at(key.namespace).put(answer)

    async def delete(self, namespace: str, deletion: Deletion) -> None:
        """Delete a child, if it is still the one that is known; one that is gone is what was wanted.

        Raises:
            ValueError: children of its kind are not deleted one by one.
            Otherwise as Api.call.
        """
        row = self._table.get(deletion.kind)
        if row is None or not row.deleted:
            allowed = " and ".join(each.resource.plural for each in self._table.values() if each.deleted) or "no children"
            raise ValueError(f"{deletion.kind} {deletion.name}: only {allowed} are deleted one by one")
        informer = self._informers[deletion.kind].at(namespace)
        known = informer.get(namespace, deletion.name)
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if known is not None:
            options["preconditions"] = {"uid": known.uid}
        if deletion.grace_seconds is not None:
            options["gracePeriodSeconds"] = deletion.grace_seconds
        try:
            answer = await self._api.call("DELETE", row.resource.path(namespace, deletion.name), body=options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return
        if answer.get("kind") == deletion.kind:
            informer.put(answer)

    async def _existing(self, row: ChildKind[Any], manifest: Manifest) -> Manifest:
        """The object that has the name already.

        Raises:
            ApiError: it is somebody else's.
        """
        metadata, kind = manifest["metadata"], row.resource.kind
        if row.unique:
            return manifest  # it says the same
        query = f"fieldSelector=metadata.name%3D{metadata['name']}"
        found = (await self._api.call("GET", row.resource.path(metadata["namespace"]), query=query)).get("items") or ()
        if not found:
            raise ApiError(409, "Conflict", f"{kind} {metadata['name']} was there a moment ago")
        if owner(found[0]["metadata"], self._of) != owner(metadata, self._of):
            message = f"{kind} {metadata['name']} belongs to somebody else; delete it, or give the {self._of.noun} another name"
            raise ApiError(422, "NotOurs", message)
        existing: Manifest = found[0]
        return existing

    def _informer(self, row: ChildKind[Any], selector: str, namespace: str | None) -> Informer[Child[Any] | None]:
        return Informer(
            self._api,
            row.resource,
            partial(self._read, row),
            partial(self._changed, row),
            namespace=namespace,
            selector=selector,
            metadata_only=row.watched is Watched.PRESENCE,
        )

    def _read(self, row: ChildKind[Any], manifest: Manifest) -> Child[Any] | None:
        metadata = manifest["metadata"]
        owned = owner(metadata, self._of)
        if owned is None:
            return None
        value = row.read(manifest)
        if value is None and row.watched is Watched.STATE:
            return None
        name, uid = owned
        key = ResourceKey(self._of.kind, metadata["namespace"], name)
        return Child(key, uid, row.resource.kind, metadata["name"], metadata.get("uid", ""), value)

    def _changed(self, row: ChildKind[Any], old: Child[Any] | None, new: Child[Any] | None) -> None:
        known, each_time = self._known[row.resource.kind], row.watched is Watched.STATE
        if old is not None and (new is None or new.owner != old.owner):
            known[old.owner].pop(old.name, None)
            if not known[old.owner]:
                del known[old.owner]
        if new is not None:
            known[new.owner][new.name] = new
        for child in (old, new) if each_time else (old,):
            if child is not None:
                self._wake(child.owner)
        self._news(old, new)
