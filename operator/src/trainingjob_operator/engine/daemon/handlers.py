"""kopf's part: it logs in, watches the controllers' kinds and hands every event on. It cannot fail, and it decides nothing.

Only the lowest of kopf's handlers is used: on.event writes nothing to the objects. So kopf's own storages, which keep a copy of every
object in an annotation of it, are replaced by ones that keep nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any

import aiohttp
import kopf
from kubernetes.aio.client import Configuration

from trainingjob_api.backoff import Backoff
from trainingjob_operator.engine.objects import Objects

_LOGIN_MINUTES = 10
"""The service account's token is renewed; kopf is told to ask for it again."""


class _NoDiffBase(kopf.DiffBaseStorage):
    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return None

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return None

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def registry(kinds: Iterable[Objects[Any]], configuration: Configuration) -> kopf.OperatorRegistry:
    """The handlers that feed what is known of each kind."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return await connection(configuration)

    for objects in kinds:
        _follow(found, objects)
    return found


def _follow(found: kopf.OperatorRegistry, objects: Objects[Any]) -> None:
    kind = objects.resource

    @kopf.on.event(kind.group, kind.version, kind.plural, registry=found)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        manifest: Any = event["object"]
        if event["type"] == "DELETED":
            objects.drop(objects.key_of(manifest), manifest["metadata"]["uid"])
        else:
            objects.put(manifest)


async def connection(configuration: Configuration) -> kopf.AiohttpSession:
    """How kopf reaches the API server: as everything else does, and patiently. kopf closes the session when it logs in again, or ends."""
    credentials = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (credentials or "").partition(" ")
    expiration = datetime.now(UTC) + timedelta(minutes=_LOGIN_MINUTES)
    told = kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=expiration,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=told.as_ssl_context()), headers=told.as_http_headers(), middlewares=(_patient,)
    )
    return kopf.AiohttpSession(server=told.server, aiohttp_session=session, expiration=expiration)


async def _patient(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Of a kind that is not served kopf is told to ask again, where it would end: a new API server does not know it yet."""
    response = await handler(request)
    if response.status == HTTPStatus.NOT_FOUND:
        response.status = HTTPStatus.SERVICE_UNAVAILABLE
    return response


def settings() -> kopf.OperatorSettings:
    """kopf without its own writes, peering, scanning and events."""
    found = kopf.OperatorSettings()
    found.persistence.diffbase_storage = _NoDiffBase()
    found.persistence.progress_storage = _NoProgress()
    found.peering.standalone = True
    found.scanning.disabled = True
    found.posting.enabled = False
    found.queueing.idle_timeout = 1
    found.watching.server_timeout = 290
    found.watching.inactivity_timeout = 70
    found.watching.connect_timeout = 5
    found.watching.chunk_size = 500
    found.networking.request_timeout = 30
    found.networking.connect_timeout = 5
    # An outage of the API server is waited out, however long.
    found.networking.error_backoffs = _Backoffs()
    return found


class _Backoffs:
    """1, 2, 4, 8 and then 10 seconds, without an end."""

    def __iter__(self) -> Iterator[float]:
        return map(Backoff(first=1.0, longest=10.0).base, count(1))
