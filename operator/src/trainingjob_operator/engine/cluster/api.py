"""Requests to the API server: one method for a call, one for a watch. Effect: the network.

It knows how to reach and authenticate (kubernetes.aio: kubeconfig or service account, whose token it reads again as it is renewed), and
no kind of object. It never tries again: whoever calls looks again at the whole, and then decides.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import load_incluster_config, load_kube_config
from pydantic_core import from_json

from trainingjob_operator.engine.values import Manifest

logger = logging.getLogger(__name__)

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 90.0
"""A watch on which not even a bookmark comes for so long is dead: the server sends one a minute."""
_CONNECTIONS = 64
_CLOSING = "NamespaceTerminating"
"""The API server's word for why it makes nothing in a namespace that is being deleted."""
_AGENT = "trainingjob-operator"


class ApiError(Exception):
    """The API server said no. `reason` is its word for it, such as AlreadyExists."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class ClosingError(ApiError):
    """Nothing can be made there any more: the namespace is being deleted, and all that is in it goes."""


class NotLeading(Exception):
    """This operator may not write now: it does not hold the lease, or is not sure of it."""


Unreachable = (ApiError, NotLeading, aiohttp.ClientError, OSError, TimeoutError)
"""What a call raises when it cannot be answered, is answered with no, or may not be made."""


def asked_pause(error: Exception) -> float:
    """Seconds for which the API server asks to be left alone."""
    return error.retry_after or 0.0 if isinstance(error, ApiError) else 0.0


async def configuration(environ: Mapping[str, str]) -> Configuration:
    """How to reach the API server: KUBECONFIG if it is set, else the service account of this pod, else ~/.kube/config."""
    found = Configuration()
    if "KUBECONFIG" not in environ and "KUBERNETES_SERVICE_HOST" in environ:
        load_incluster_config(client_configuration=found)
    else:
        await load_kube_config(config_file=environ.get("KUBECONFIG"), client_configuration=found)
    found.client_session_kwargs = {"trust_env": False}
    found.connection_pool_maxsize = _CONNECTIONS
    return found


class Api:
    """The API server."""

    def __init__(
        self,
        configuration: Configuration,
        on_answer: Callable[[str, str, int], None] | None = None,
        leash: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """`on_answer` is told method, path and status of every call (0: no answer), for the metrics.

        `leash` says for how many seconds writes may be made. A write that is not answered by then is given up, so that none arrives
        after another operator has begun to act.
        """
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._on_answer = on_answer or (lambda method, path, status: None)
        self._leash = leash

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Manifest:
        """One request, and the object that answers it.

        Raises:
            ApiError: the server refuses.
            NotLeading: it is a write, and this operator may not write.
            aiohttp.ClientError, OSError, TimeoutError: it does not answer; the request may have been carried out.
        """
        seconds = REQUEST_SECONDS if method == "GET" else min(REQUEST_SECONDS, self._leash())
        if seconds <= 0:
            raise NotLeading(f"{method} {path} is not for an operator without the lease")
        headers = {"Content-Type": content_type, "Accept": accept, **await self._credentials()}
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        status = 0
        try:
            response = await self._rest.request(method, self._url(path, query), headers=headers, body=body, _request_timeout=timeout)
            data = await response.read()
            status = response.status
        finally:
            self._on_answer(method, path, status)
        if status >= 300:
            raise _refusal(status, data, response.headers.get("Retry-After"))
        found: Manifest = from_json(data) if data else {}
        return found

    async def watch(
        self, path: str, query: str, accept: str = "application/json", *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[Manifest]:
        """The events of one watch, until the server ends it; `opened` is told that it has begun, which may be long before the first.

        Raises:
            As `call`; TimeoutError also when the stream has fallen silent.
        """
        headers = {"Accept": accept, **await self._credentials()}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with asyncio.timeout(REQUEST_SECONDS):  # it begins at once, however long it is silent afterwards
            answer = await self._rest.request("GET", self._url(path, query), headers=headers, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        self._on_answer("WATCH", path, response.status)
        try:
            if response.status >= 300:
                raise _refusal(response.status, await response.read(), response.headers.get("Retry-After"))
            opened()
            async for line in lines(response.content):
                yield from_json(line)
        finally:
            response.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    def _url(self, path: str, query: str) -> str:
        return f"{self._configuration.host}{path}" + (f"?{query}" if query else "")

    async def _credentials(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"User-Agent": _AGENT} | ({"Authorization": token} if token else {})


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: an event may be as large as an object, which is more than the reader's buffer."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _refusal(status: int, data: bytes, retry_after: str | None) -> ApiError:
    try:
        said: Any = from_json(data)
    except ValueError:
        said = None
    told = said if isinstance(said, dict) else {}
    message = str(told.get("message") or data[:200].decode(errors="replace"))
    pause = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    kind = ClosingError if _CLOSING in {cause.get("reason") for cause in (told.get("details") or {}).get("causes") or ()} else ApiError
    return kind(status, str(told.get("reason") or "Refused"), message, pause)
