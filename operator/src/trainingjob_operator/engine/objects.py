"""The resources of one kind as kopf and the operator's own writes tell of them, read once per version. Pure memory, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from trainingjob_operator.engine.resources import Resource
from trainingjob_operator.engine.values import Manifest, ResourceKey, version_of

GONE = 1000
"""So many resources that have gone are remembered: a list that was read before may tell of them after."""


class Known(Protocol):
    """What the engine asks of that which a controller keeps of a resource."""

    @property
    def uid(self) -> str:
        """Its uid."""

    @property
    def version(self) -> int:
        """Its resource version, as a number."""

    @property
    def written(self) -> frozenset[str]:
        """The fields that its status has."""


K = TypeVar("K", bound=Known)


@dataclass(frozen=True)
class Whole:
    """A resource that is kept as it is."""

    manifest: Manifest

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.manifest["metadata"]["uid"])

    @property
    def version(self) -> int:
        """Its resource version, as a number."""
        return version_of(self.manifest)

    @property
    def status(self) -> dict[str, Any]:
        """Its status; empty if it has none yet."""
        return self.manifest.get("status") or {}

    @property
    def written(self) -> frozenset[str]:
        """The fields that its status has."""
        return frozenset(self.status)


class Objects(Generic[K]):
    """All resources of one kind."""

    def __init__(self, resource: Resource, read: Callable[[Manifest], K], changed: Callable[[ResourceKey], None]) -> None:
        """`changed` is told of every resource that is new, changed or gone."""
        self.resource = resource
        self._read = read
        self._changed = changed
        self._known: dict[ResourceKey, K] = {}
        self._gone: deque[str] = deque(maxlen=GONE)

    def key_of(self, manifest: Manifest) -> ResourceKey:
        """The key of a resource of this kind. Its manifest need not name the kind: items of lists do not."""
        return ResourceKey(self.resource.kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])

    def get(self, key: ResourceKey) -> K | None:
        """The newest that is known of the resource."""
        return self._known.get(key)

    def all(self) -> list[K]:
        """All resources."""
        return list(self._known.values())

    def __iter__(self) -> Iterator[ResourceKey]:
        """The keys of all."""
        return iter(list(self._known))

    def put(self, manifest: Manifest) -> None:
        """Take in an object, unless something newer is known: also that it has gone."""
        if manifest["metadata"]["uid"] in self._gone:
            return
        key = self.key_of(manifest)
        known = self._known.get(key)
        if known is not None and known.version >= version_of(manifest):
            return
        self._known[key] = self._read(manifest)
        self._changed(key)

    def renew(self, manifest: Manifest) -> None:
        """As `put`, for the answer to a call, which may come late: of a resource that has gone meanwhile it tells nothing."""
        if self.key_of(manifest) in self._known:
            self.put(manifest)

    def drop(self, key: ResourceKey, uid: str | None = None) -> None:
        """The resource is gone, if it is still the one with this uid."""
        known = self._known.get(key)
        if known is not None and uid in (None, known.uid):
            del self._known[key]
            self._gone.append(known.uid)
            self._changed(key)
