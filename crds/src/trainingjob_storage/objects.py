"""Object storage of the clouds and of their look-alikes, by obstore. Effects.

Objects are written whole, from memory that does not change; obstore's writer streams are not used, since they keep
references to buffers that the caller reuses. Errors are told in our own words: the client's texts may hold signed URLs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from trainingjob_storage.errors import AlreadyExists, NotFound, Refused, Unreachable

FIELD = "spec.checkpoint.storage"
PART_BYTES = 64 << 20
"""Longer objects are sent and fetched in parts of this size, so that one request stays short."""
CONFLICT_TRIES = 6

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
# The request is wrong, rather than too early, in conflict, too slow or one too many.
_REFUSAL = re.compile(r"3\d\d|4(?!08|09|25|29)\d\d|501")
_ABSENT = {"", "NoSuchKey", "BlobNotFound"}
_S3_NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
_GOOGLE_NAMES = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
_AZURE_NAMES = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
)


class Clients(NamedTuple):
    """Two clients of one store: `control` for small objects, which fails soon, and `bulk` for shards."""

    control: Any
    bulk: Any


def connect(scheme: str, bucket: str, prefix: str, endpoint_url: str | None, region: str | None, environ: Mapping[str, str]) -> Clients:
    """Make the clients; nothing is asked of the store yet.

    Raises:
        Refused: the settings cannot work.
    """
    if not bucket:
        raise Refused(f"{FIELD}.uri: names no bucket; write {scheme}://bucket/prefix")
    try:
        return Clients(*(_client(scheme, bucket, prefix, endpoint_url, region, environ, seconds) for seconds in (20, 120)))
    except (BaseError, ValueError) as error:
        raise Refused(f"{FIELD}: the client cannot be set up: {_first_line(error)}") from None


def _client(
    scheme: str, bucket: str, prefix: str, endpoint_url: str | None, region: str | None, environ: Mapping[str, str], seconds: int
) -> Any:
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": bool(endpoint_url and endpoint_url.startswith("http://")),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=seconds),
        },
        "retry_config": {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    }
    inside = prefix or None
    if scheme == "s3":
        config = _chosen(environ, _S3_NAMES)
        config["AWS_REGION"] = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        if endpoint_url:
            config["AWS_ENDPOINT_URL"] = endpoint_url
        return S3Store(bucket, prefix=inside, config=config, **options)  # type: ignore[arg-type]
    if scheme == "gs":
        config = _chosen(environ, _GOOGLE_NAMES)
        if endpoint_url:
            config["GOOGLE_BASE_URL"] = endpoint_url
        return GCSStore(bucket, prefix=inside, config=config, **options)  # type: ignore[arg-type]
    container, _, rest = prefix.partition("/")
    if not container:
        raise ValueError("write az://account/container/prefix")
    config = {**_chosen(environ, _AZURE_NAMES), "AZURE_STORAGE_ACCOUNT_NAME": bucket}
    if endpoint_url:
        config["AZURE_STORAGE_ENDPOINT"] = endpoint_url
    return AzureStore(container, prefix=rest or None, config=config, **options)  # type: ignore[arg-type]


def _chosen(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: environ[name] for name in names if environ.get(name)}


class ObjectStore:
    """Objects in a bucket. See `store.Store`."""

    def __init__(self, uri: str, clients: Clients) -> None:
        self.uri = uri
        self._clients = clients

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        for attempt in range(CONFLICT_TRIES):
            try:
                with self._explained(key, writing=True):
                    obstore.put(self._clients.control, key, bytes(data), mode="create", use_multipart=False)
                return
            except AlreadyExists:
                # S3 answers 409, and the client calls it "exists", when two creations race and perhaps neither has won.
                if self._exists(key):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise Unreachable(f"{self.uri}/{key}: creating it met a conflict {CONFLICT_TRIES} times")

    def put(self, key: str, data: bytes | memoryview) -> None:
        """See Store."""
        client = self._clients.bulk if len(data) > 1 << 20 else self._clients.control
        with self._explained(key, writing=True):
            obstore.put(client, key, data, use_multipart=len(data) > PART_BYTES, chunk_size=PART_BYTES, max_concurrency=4)

    def get(self, key: str) -> bytes:
        """See Store."""
        if not key.endswith(".safetensors"):
            with self._explained(key):
                return obstore.get(self._clients.control, key).bytes().to_bytes()
        with self._explained(key):
            size = obstore.head(self._clients.control, key)["size"]
            parts = [
                obstore.get_range(self._clients.bulk, key, start=start, end=min(start + PART_BYTES, size))
                for start in range(0, size, PART_BYTES)
            ]
        return b"".join(parts)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """See Store."""
        client = self._clients.bulk if stop - start > 1 << 20 else self._clients.control
        with self._explained(key):
            try:
                return obstore.get_range(client, key, start=start, end=stop).to_bytes()
            except BaseError as error:
                if _is_past_end(error):
                    return b""
                raise

    def list(self, prefix: str) -> list[str]:
        """See Store."""
        assert not prefix or prefix.endswith("/")
        with self._explained(prefix, writing=True):
            return sorted(entry["path"] for batch in obstore.list(self._clients.control, prefix.rstrip("/") or None) for entry in batch)

    def delete(self, keys: Iterable[str]) -> None:
        """See Store."""
        for key in keys:
            try:
                with self._explained(key):
                    obstore.delete(self._clients.control, key)
            except NotFound:
                continue

    def _exists(self, key: str) -> bool:
        try:
            with self._explained(key):
                obstore.head(self._clients.control, key)
        except NotFound:
            return False
        return True

    @contextmanager
    def _explained(self, key: str, *, writing: bool = False) -> Iterator[None]:
        """Turns the client's errors into ours. `writing`: the object's absence cannot be the reason."""
        try:
            yield
        except AlreadyExistsError:
            raise AlreadyExists(key) from None
        except FileNotFoundError as error:
            code = _code(error)
            if not writing and code in _ABSENT:
                raise NotFound(key) from None
            raise self._refused(key, code or "the bucket is not there") from None
        except (PermissionDeniedError, UnauthenticatedError, NotSupportedError) as error:
            raise self._refused(key, _code(error) or "permission denied") from None
        except (BaseError, OSError) as error:
            raise self._verdict(key, error) from None

    def _verdict(self, key: str, error: Exception) -> Exception:
        status = _STATUS.search(str(error))
        if status and _REFUSAL.fullmatch(status[1]):
            return self._refused(key, _code(error) or f"status {status[1]}")
        return Unreachable(f"{self.uri}/{key}: {_code(error) or _first_line(error)}")

    def _refused(self, key: str, why: str) -> Refused:
        return Refused(
            f"{FIELD}: the store refuses {self.uri}/{key}: {why}. Check that the bucket of uri exists at endpointUrl and region, "
            f"and that the keys in {FIELD}.credentialsSecretName are right and may list, read, write and delete there"
        )


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _is_past_end(error: Exception) -> bool:
    """The object is there, and ends before the range begins. Each store has its own words for it."""
    status = _STATUS.search(str(error))
    return (status is not None and status[1] == "416") or _code(error) == "InvalidRange" or "range starting at" in _first_line(error)


def _first_line(error: Exception) -> str:
    """The client's own words, without its debug output and without queries, which may be signed."""
    return re.sub(r"\?\S*", "", (str(error).splitlines() or [""])[0])[:300]
