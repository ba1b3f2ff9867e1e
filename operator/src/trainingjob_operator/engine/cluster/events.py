"""A resource's story as Kubernetes events, for `kubectl describe`. Effect: writes that may be lost.

Of a thing that keeps happening (checkpoints) there is one event, which counts.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from trainingjob_operator.engine.cluster.api import MERGE_PATCH, Api, ApiError, ClosingError, Unreachable
from trainingjob_operator.engine.resources import EVENTS, Resource
from trainingjob_operator.engine.values import Event, Manifest, ResourceKey

logger = logging.getLogger(__name__)

COMPONENT = "trainingjob-operator"
MAX_MESSAGE = 1024
_REMEMBERED = 4096


@dataclass
class _Series:
    name: str
    count: int


class Events:
    """Posts events."""

    def __init__(self, api: Api, about: Resource, folded: frozenset[str] = frozenset()) -> None:
        """About resources of one kind. Of a reason in `folded` there is one event with the newest message, however often it happens."""
        self._api = api
        self._about = about
        self._folded = folded
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()

    async def post(self, key: ResourceKey, uid: str, events: tuple[Event, ...], now: datetime) -> None:
        """Post events of one resource. A failure is logged: an event is no reason for another pass.

        Raises:
            ClosingError: the resource's namespace is being deleted.
        """
        for event in events:
            try:
                await self._post(key, uid, event, now)
            except ClosingError:
                raise
            except Unreachable as error:
                logger.warning("%s: an event was lost (%s): %s", key, event.reason, error)

    async def _post(self, key: ResourceKey, uid: str, event: Event, now: datetime) -> None:
        identity = (uid, event.reason, "" if event.reason in self._folded else event.message)
        series = self._series.get(identity)
        if series is not None and await self._again(key.namespace, series, event, now):
            self._series.move_to_end(identity)
            return
        manifest = manifest_of(self._about, key, uid, event, now)
        await self._api.call("POST", EVENTS.path(key.namespace), body=manifest)
        self._series[identity] = _Series(manifest["metadata"]["name"], 1)
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    async def _again(self, namespace: str, series: _Series, event: Event, now: datetime) -> bool:
        """Count once more; False if the event is no longer there: they are kept for an hour or so."""
        change = {"count": series.count + 1, "lastTimestamp": _time(now), "message": event.message[:MAX_MESSAGE]}
        try:
            await self._api.call("PATCH", EVENTS.path(namespace, series.name), body=change, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        series.count += 1
        return True


def manifest_of(about: Resource, key: ResourceKey, uid: str, event: Event, now: datetime) -> Manifest:
    """The event as the API server takes it."""
    unique = sha256(f"{uid} {event.reason} {event.message} {now.timestamp()}".encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{key.name}.{unique}", "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
        },
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message[:MAX_MESSAGE],
        "firstTimestamp": _time(now),
        "lastTimestamp": _time(now),
        "count": 1,
        "reportingComponent": COMPONENT,
        "source": {"component": COMPONENT},
    }


def _time(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
