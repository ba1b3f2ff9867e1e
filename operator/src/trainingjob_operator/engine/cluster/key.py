"""The operator's root keys: a Secret of its own namespace, which it makes itself. Effect: two calls.

Everything a job's rendezvous and workers know each other by is derived from one of them (controllers/training_job/identity.py). Helm
neither makes nor deletes the Secret, so an operator that is installed again still knows its jobs. A person who
wants another key makes the Secret anew, with the old keys beside it.
"""

from __future__ import annotations

import base64
import re
import secrets

from trainingjob_operator.engine.cluster.api import Api, ApiError
from trainingjob_operator.engine.resources import SECRETS
from trainingjob_operator.engine.settings import Misconfigured
from trainingjob_operator.engine.values import Manifest

NAME = "trainingjob-operator-key"
KEY_BYTES = 32
_FIELD = re.compile(r"key(-([1-9][0-9]{0,5}))?")
"""key, key-1, key-2 …: the one with the highest number is the newest."""


async def root_keys(api: Api, namespace: str) -> tuple[bytes, ...]:
    """The keys, newest first; one is made if there is none yet. Two operators that start at once end up with the same one.

    Raises:
        Misconfigured: the Secret is there and holds no key, or something else.
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


def _read(secret: Manifest, namespace: str) -> tuple[bytes, ...]:
    found = {}
    for field, value in (secret.get("data") or {"key": ""}).items():
        match = _FIELD.fullmatch(field)
        if match is None:
            raise Misconfigured(f"Secret {namespace}/{NAME}: `{field}` is no key; name keys key, key-1, key-2 and so on, or remove it")
        found[int(match[2] or 0)] = _key(field, value, namespace)
    return tuple(found[number] for number in sorted(found, reverse=True))


def _key(field: str, value: str, namespace: str) -> bytes:
    try:
        key = base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise Misconfigured(
            f"Secret {namespace}/{NAME}: `{field}` must hold {KEY_BYTES} random bytes; delete the Secret to have it made anew"
        )
    return key


def _manifest(namespace: str) -> Manifest:
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/name": "trainingjob-operator"}},
        "type": "Opaque",
        "immutable": True,
        "data": {"key": base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()},
    }
