"""The port to a job's storage, and the way to open one by its URI. Effects, behind `Store`.

All calls are synchronous and are made from threads. Nothing here knows what the objects mean. Of the store only one special thing is
needed: creating an object only if it is absent. `probe` proves that it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from trainingjob_api.storage.layout import PROBE_PREFIX
from trainingjob_storage.errors import AlreadyExists, Refused
from trainingjob_storage.files import FileStore

FIELD = "spec.checkpoint.storage"


class Store(Protocol):
    """A flat space of whole objects under one prefix. Keys are relative, with slashes. Safe for use by several threads.

    Every method may raise Refused or Unreachable.
    """

    uri: str
    """As the user gave it, without a slash at its end."""

    def create(self, key: str, data: bytes) -> None:
        """Write an object unless there is one of that name; durable when this returns.

        Raises:
            AlreadyExists: there is one; perhaps an earlier try of the same call.
        """
        ...

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object, in place of the one that may be there; durable when this returns. `data` must not change meanwhile."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            NotFound: there is none.
        """
        ...

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start … stop-1 of an object, without reading the rest; fewer if it ends before.

        Raises:
            NotFound: there is none.
        """
        ...

    def list(self, prefix: str) -> list[str]:
        """The keys under a folder, sorted. `prefix` is empty or ends with a slash."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        ...


def open_store(uri: str, endpoint_url: str | None, region: str | None, environ: Mapping[str, str]) -> Store:
    """Open the storage that `uri` names; nothing is asked of it yet.

    Args:
        uri: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/prefix.
        endpoint_url: the server's URL where it is not the cloud's own.
        region: the bucket's region; without it AWS_REGION, or us-east-1.
        environ: holds the credentials under their usual names (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
            AWS_SESSION_TOKEN, GOOGLE_…, AZURE_…).

    Raises:
        Refused: the URI is malformed or of an unknown scheme.
    """
    parts = urlsplit(uri)
    if parts.username is not None or parts.query or parts.fragment:
        raise Refused(f"{FIELD}.uri: credentials, queries and fragments do not belong into a URI; use credentialsSecretName")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise Refused(f"{FIELD}.uri: {uri} must name an absolute folder: file:///folder")
        return FileStore(uri.rstrip("/"), Path(unquote(parts.path)))
    if parts.scheme in ("s3", "gs", "az"):
        # Only here: a program that works on files alone does without the object store's client.
        from trainingjob_storage.objects import ObjectStore, connect

        return ObjectStore(uri.rstrip("/"), connect(parts.scheme, parts.netloc, parts.path.strip("/"), endpoint_url, region, environ))
    raise Refused(f"{FIELD}.uri: {uri} must start with file://, s3://, gs:// or az://")


def probe(store: Store, nonce: str) -> None:
    """Prove that the store can be written, read, and creates only what is absent.

    Args:
        store: the store.
        nonce: makes the probe's key unique.

    Raises:
        Refused: it does not; the message says what to do.
    """
    key = f"{PROBE_PREFIX}{nonce}"
    try:
        store.create(key, b"first")
        try:
            store.create(key, b"second")
        except AlreadyExists:
            kept = store.get(key)
        else:
            kept = b"second"
    finally:
        store.delete([key])
    if kept != b"first":
        raise Refused(
            f"{FIELD}.uri: the store at {store.uri} overwrites an object that it was asked to create only if absent (If-None-Match: *), "
            "so two writers could corrupt the log. Use a store, or a release of it, that supports conditional writes: "
            "AWS S3, Google Cloud Storage, Azure Blob Storage, Ceph, R2, versitygw or file://"
        )
