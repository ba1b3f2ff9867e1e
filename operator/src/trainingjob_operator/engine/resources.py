"""Where the API server keeps each kind of object, and what a controller does with its children. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from trainingjob_operator.engine.values import Manifest

T = TypeVar("T")


@dataclass(frozen=True)
class Resource:
    """A kind of object."""

    api_version: str
    kind: str
    plural: str
    noun: str = "resource"
    """What messages to users call one."""

    @property
    def group(self) -> str:
        """The API group; "" for Kubernetes' core."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of all in a namespace, or of all."""
        root = f"/api/{self.api_version}" if not self.group else f"/apis/{self.api_version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


PODS = Resource("v1", "Pod", "pods")
SERVICES = Resource("v1", "Service", "services")
SECRETS = Resource("v1", "Secret", "secrets")
CONFIG_MAPS = Resource("v1", "ConfigMap", "configmaps")
NODES = Resource("v1", "Node", "nodes")
EVENTS = Resource("v1", "Event", "events")
NETWORK_POLICIES = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
REVISIONS = Resource("apps/v1", "ControllerRevision", "controllerrevisions")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")


class Made(StrEnum):
    """How a child comes to be."""

    POST = "POST"
    """Created once; what is there already is taken for what it is."""
    APPLY = "APPLY"
    """By server-side apply: it may change."""


class Watched(StrEnum):
    """What of a child is watched, and which news of it are worth a pass."""

    NEVER = "Never"
    """It is never read: only that it was created is remembered."""
    PRESENCE = "Presence"
    """Its metadata; a pass when it goes."""
    CONTENT = "Content"
    """All of it, though it never changes; a pass when it goes."""
    STATE = "State"
    """All of it; a pass at every change of what is kept of it."""


def _nothing(_: Manifest) -> None:
    return None


@dataclass(frozen=True)
class ChildKind(Generic[T]):
    """A kind of object that the resources of a controller own: a row of that controller's table."""

    resource: Resource
    made: Made
    watched: Watched
    why: str
    """What it is for, as a sentence of the chart's rules."""
    read: Callable[[Manifest], T | None] = _nothing
    """What is kept of it."""
    deleted: bool = False
    """It may be deleted one by one; the others go with their owner."""
    unique: bool = True
    """Its name carries its owner's uid: whatever has the name is the owner's. If not, an object that is there already is looked at."""


def owner(metadata: Manifest, kind: Resource) -> tuple[str, str] | None:
    """Name and uid of the resource of this kind that controls the object with this metadata; None if none does."""
    for reference in metadata.get("ownerReferences") or ():
        group = reference.get("apiVersion", "").rpartition("/")[0]  # "" for the core group, whose version stands alone
        is_kind = reference.get("kind") == kind.kind and group == kind.group
        if reference.get("controller") and is_kind:
            return reference["name"], reference["uid"]
    return None
