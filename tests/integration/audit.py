"""Who asked the API server for what: its audit log, read while it runs.

The server writes a request's first line before it acts on it, and its last one at about the time that the client has the
answer. So a request that a client has had an answer to is in the log; how it was answered may take a moment longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "nonResourceURLs": ["/*"]},
        {"level": "Metadata"},
    ],
}
"""Every request for a resource but the server's own."""


@dataclass(frozen=True)
class AuditEvent:
    """One request."""

    user: str
    verb: str
    """get, list, watch, create, update, patch, delete or deletecollection."""
    resource: str
    """The plural, with the subresource after a slash: trainingjobs/status."""
    group: str
    """The resource's API group; "" for the core's."""
    namespace: str
    name: str
    code: int | None
    """How it was answered; None: the server died over it, or it is still at it."""
    agent: str
    uri: str
    received: float
    """When it came, in seconds since 1970."""
    answered: float | None
    """When it was answered; None as for `code`."""


class AuditLog:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._born = 0

    def reborn(self) -> None:
        """The server was started: what has no answer yet will never have one."""
        self._born = self.mark()

    def mark(self) -> int:
        """Now, to read on from."""
        return self.path.stat().st_size if self.path.exists() else 0

    def unanswered(self, since: int) -> list[str]:
        """The requests after `since` whose answer is not told yet, but will be."""
        asked = {line["auditID"] for line in self._lines(max(since, self._born)) if line["stage"] == "RequestReceived"}
        told = {line["auditID"] for line in self._lines(since) if line["stage"] != "RequestReceived"}
        return sorted(asked - told)

    def events(self, since: int) -> list[AuditEvent]:
        """The requests that came after `since`, in their order."""
        first: dict[str, dict[str, Any]] = {}
        last: dict[str, dict[str, Any]] = {}
        for line in self._lines(since):
            (first if line["stage"] == "RequestReceived" else last)[line["auditID"]] = line
        return [_event(line, last.get(identity, line)) for identity, line in first.items()]

    def _lines(self, since: int) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as read:
            read.seek(since)
            for line in read:
                if line.endswith(b"\n"):  # the last one may be half written
                    yield json.loads(line)


def _event(asked: dict[str, Any], told: dict[str, Any]) -> AuditEvent:
    target = asked.get("objectRef", {})
    subresource = target.get("subresource")
    return AuditEvent(
        user=asked["user"]["username"],
        verb=asked["verb"],
        resource=target.get("resource", "") + (f"/{subresource}" if subresource else ""),
        group=target.get("apiGroup", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name") or told.get("objectRef", {}).get("name", ""),
        code=told.get("responseStatus", {}).get("code"),
        agent=asked.get("userAgent", ""),
        uri=asked["requestURI"],
        received=_seconds(asked["requestReceivedTimestamp"]),
        answered=_seconds(told["stageTimestamp"]) if "responseStatus" in told else None,
    )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
