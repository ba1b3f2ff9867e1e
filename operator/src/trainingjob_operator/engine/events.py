"""A job's story as Kubernetes events, for `kubectl describe`. Effect: writes that may be lost.

Of a thing that keeps happening (checkpoints) there is one event, which counts.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.reasons import FOLDED
from trainingjob_operator.controllers.training_job.state import Event, Manifest
from trainingjob_operator.engine.api import MERGE_PATCH, Api, ApiError, ClosingError, Unreachable
from trainingjob_operator.engine.resources import EVENTS

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

    def __init__(self, api: Api) -> None:
        self._api = api
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()

    async def post(self, job: TrainingJob, events: tuple[Event, ...], now: datetime) -> None:
        """Tell of `job`. A failure is logged: an event is no reason for another pass.

        Raises:
            ClosingError: the job's namespace is being deleted.
        """
        for event in events:
            try:
                await self._post(job, event, now)
            except ClosingError:
                raise
            except Unreachable as error:
                logger.warning("%s/%s: an event was lost (%s): %s", job.metadata.namespace, job.metadata.name, event.reason, error)

    async def _post(self, job: TrainingJob, event: Event, now: datetime) -> None:
        identity = (job.metadata.uid, event.reason, "" if event.reason in FOLDED else event.message)
        series = self._series.get(identity)
        if series is not None and await self._again(job.metadata.namespace, series, event, now):
            self._series.move_to_end(identity)
            return
        manifest = manifest_of(job, event, now)
        await self._api.call("POST", EVENTS.path(job.metadata.namespace), body=manifest)
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


def manifest_of(job: TrainingJob, event: Event, now: datetime) -> Manifest:
    """The event as the API server takes it."""
    about = job.metadata
    unique = sha256(f"{about.uid} {event.reason} {event.message} {now.timestamp()}".encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{about.name}.{unique}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": job.api_version,
            "kind": job.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
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
