"""The operator's root key: a Secret of its own namespace, which it makes itself. Effect: two calls.

Everything a job's rendezvous and workers know each other by is derived from it (trainingjob_operator.identity). Helm neither makes
nor deletes it, so an operator that is installed again still knows its jobs.
"""

from __future__ import annotations

import base64
import secrets

from trainingjob_operator.cluster.api import Api, ApiError
from trainingjob_operator.cluster.resources import SECRETS
from trainingjob_operator.settings import Misconfigured
from trainingjob_operator.state import Manifest

NAME = "trainingjob-operator-key"
KEY_BYTES = 32
_FIELD = "key"


async def root_key(api: Api, namespace: str) -> bytes:
    """The key, made if there is none yet. Two operators that start at once end up with the same one.

    Raises:
        Misconfigured: the Secret is there and holds no key.
    """
    try:
        return _read(await api.call("GET", SECRETS.path(namespace, NAME)), namespace)
    except ApiError as error:
        if error.status != 404:
            raise
    try:
        return _read(await api.call("POST", SECRETS.path(namespace), body=_manifest(namespace)), namespace)
    except ApiError as error:
        if error.status != 409:
            raise
    return _read(await api.call("GET", SECRETS.path(namespace, NAME)), namespace)


def _read(secret: Manifest, namespace: str) -> bytes:
    try:
        key = base64.b64decode(secret["data"][_FIELD], validate=True)
    except (KeyError, TypeError, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise Misconfigured(
            f"Secret {namespace}/{NAME}: `{_FIELD}` must hold {KEY_BYTES} random bytes; delete the Secret to have it made anew"
        )
    return key


def _manifest(namespace: str) -> Manifest:
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/name": "trainingjob-operator"}},
        "type": "Opaque",
        "immutable": True,
        "data": {_FIELD: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()},
    }
