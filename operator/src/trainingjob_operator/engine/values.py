"""What the engine and its controllers hand to each other, as frozen values. Pure: no clock, no randomness, no I/O.

Kubernetes objects are plain dicts (`Manifest`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as the API server takes it."""


def version_of(manifest: Manifest) -> int:
    """The resource version as a number; 0 if there is none."""
    text = manifest.get("metadata", {}).get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True)
class ResourceKey:
    """Names a resource that a controller looks after."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Return kind namespace/name."""
        return f"{self.kind} {self.namespace}/{self.name}"


class EventType(StrEnum):
    """Kubernetes' own words."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Event:
    """One line of a resource's story, for `kubectl describe` and the terminal."""

    type: EventType
    reason: str
    message: str


@dataclass(frozen=True)
class Deletion:
    """A child to delete."""

    kind: str
    name: str
    grace_seconds: int | None = None
    """None: the child's own; 0: force."""
