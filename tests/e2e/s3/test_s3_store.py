"""s3:// against a real server: the stores' contract, and how failures are told."""

import secrets
import socket
import time

import pytest

from storage_contract import StoreContract
from trainingjob_storage.errors import NotFound, Refused, StorageError, Unreachable
from trainingjob_storage.objects import PART_BYTES
from trainingjob_storage.store import open_store, probe


@pytest.fixture
def store(bucket):
    return open_store(f"s3://{bucket.name}/jobs/digits", bucket.endpoint, None, bucket.environ)


class TestS3Store(StoreContract):
    pass


def test_objects_lie_under_the_prefix(store, server, bucket):
    store.put("log/00000000.json", b"x")
    listed = server.client().list_objects_v2(Bucket=bucket.name)
    assert [entry["Key"] for entry in listed["Contents"]] == ["jobs/digits/log/00000000.json"]


def test_a_shard_of_several_parts_reads_back(store):
    data = secrets.token_bytes(1 << 20) * (PART_BYTES // (1 << 20)) + b"tail"
    store.put("saves/a/00000.safetensors", memoryview(bytearray(data)))
    assert store.get("saves/a/00000.safetensors") == data


def test_a_whole_bucket_can_be_the_prefix(bucket):
    store = open_store(f"s3://{bucket.name}", bucket.endpoint, "us-east-1", bucket.environ)
    store.create("log/00000000.json", b"x")
    assert store.list("log/") == ["log/00000000.json"]


WRONG = {
    "secret": lambda environ: environ | {"AWS_SECRET_ACCESS_KEY": "not-the-secret"},
    "access key": lambda environ: environ | {"AWS_ACCESS_KEY_ID": "nobody"},
}
REQUESTS = {
    "create": lambda store: store.create("log/00000000.json", b"x"),
    "put": lambda store: store.put("saves/x/00000.safetensors", b"x"),
    "get": lambda store: store.get("log/00000000.json"),
    "get shard": lambda store: store.get("saves/x/00000.safetensors"),
    "list": lambda store: store.list("log/"),
    "delete": lambda store: store.delete(["log/00000000.json"]),
    "probe": lambda store: probe(store, "x"),
}


@pytest.mark.parametrize("request_", ["create", "put", "get", "list", "delete", "probe"])
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_keys_are_refused_naming_the_field(bucket, wrong, request_):
    environ = WRONG[wrong](bucket.environ)
    store = open_store(f"s3://{bucket.name}/x", bucket.endpoint, None, environ)
    with pytest.raises(Refused, match=r"spec\.checkpoint\.storage\.credentialsSecretName") as caught:
        REQUESTS[request_](store)
    assert environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("request_", ["create", "put", "get", "list", "probe"])
def test_a_missing_bucket_is_refused_and_never_taken_for_an_empty_one(bucket, request_):
    store = open_store("s3://there-is-no-such-bucket/x", bucket.endpoint, None, bucket.environ)
    with pytest.raises(Refused, match=r"spec\.checkpoint\.storage: .*NoSuchBucket.*the bucket of uri"):
        REQUESTS[request_](store)


@pytest.mark.parametrize("request_", ["create", "get", "list"])
def test_a_server_that_is_down_is_unreachable_in_bounded_time(bucket, request_):
    with socket.socket() as closed:
        # Bound, and not listening: connections are refused.
        closed.bind(("127.0.0.1", 0))
        store = open_store(f"s3://{bucket.name}/x", f"http://127.0.0.1:{closed.getsockname()[1]}", None, bucket.environ)
        begin = time.monotonic()
        with pytest.raises(Unreachable):
            REQUESTS[request_](store)
        assert time.monotonic() - begin < 20


def test_every_error_is_one_of_ours(bucket):
    store = open_store(f"s3://{bucket.name}/x", bucket.endpoint, None, bucket.environ)
    with pytest.raises(StorageError):
        store.get("log/" + "x" * 3000)
    with pytest.raises(NotFound):
        store.get("log/00000000.json")
