"""What a cluster has beside Kubernetes itself: name resolution, GPUs that are only numbers, and an S3 server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster.access import S3_BUCKET, S3_KEYS, kubectl
from cluster.commands import Failed, wait_for
from cluster.layout import ADMIN, HERE, LOOPBACK_API_PORT, LOOPBACK_S3_PORT, NODES
from cluster.processes import Process, must_run

GPU = "nvidia.com/gpu"
GPUS = 8


def apply(programs: Path) -> None:
    """Create everything that the manifests name, as the one who may from the start: only then may the administrator."""
    files = [f"--filename={HERE / 'manifests' / name}.yaml" for name in ("access", "dns", "s3")]
    config = ADMIN.with_name("super-admin.conf")
    server = f"--server=https://127.0.0.1:{LOOPBACK_API_PORT}"
    kubectl(programs, "apply", server, *files, config=config)


def wait_nodes(programs: Path, needed: Sequence[Process] = (), seconds: float = 90) -> None:
    """Wait until the nodes are ready, for which some daemons must run."""

    def ready() -> bool:
        must_run(*needed)
        return sum(_is(node, "Ready") for node in _objects(programs, "nodes")) == len(NODES)

    wait_for("the nodes are ready", ready, seconds=seconds)


def give_gpus(programs: Path) -> None:
    """Say of each node that it has GPUs; its kubelet keeps that, and offers them, until it starts anew."""
    patch = [{"op": "add", "path": f"/status/capacity/{GPU.replace('/', '~1')}", "value": str(GPUS)}]
    for name in _without_gpus(programs):
        kubectl(programs, "patch", "node", name, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}")
    wait_for("the nodes offer their GPUs", lambda: not _without_gpus(programs))


def _without_gpus(programs: Path) -> list[str]:
    nodes = _objects(programs, "nodes")
    return [node["metadata"]["name"] for node in nodes if node["status"]["allocatable"].get(GPU) != str(GPUS)]


def wait_available(programs: Path) -> None:
    """Wait until names are resolved and the S3 server runs."""

    def available() -> bool:
        found = {each["metadata"]["name"]: each for each in _objects(programs, "deployments", "--all-namespaces")}
        return all(name in found and _is(found[name], "Available") for name in ("coredns", "s3"))

    wait_for("DNS and the S3 server are available", available, seconds=120)


def _objects(programs: Path, kind: str, *options: str) -> list[dict[str, Any]]:
    return json.loads(kubectl(programs, "get", kind, *options, "-o", "json", timeout=30))["items"]


def _is(found: dict[str, Any], condition: str) -> bool:
    conditions = found["status"].get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def make_bucket() -> None:
    """Make the bucket, which shows too that the S3 server can be reached."""
    config = Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5, proxies={})
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{LOOPBACK_S3_PORT}",
        region_name="us-east-1",
        aws_access_key_id=S3_KEYS[0],
        aws_secret_access_key=S3_KEYS[1],
        config=config,
    )
    last: list[Exception] = []

    def made() -> bool:
        try:
            client.create_bucket(Bucket=S3_BUCKET)
        except client.exceptions.BucketAlreadyOwnedByYou:
            return True
        except (BotoCoreError, ClientError) as refused:
            last[:] = [refused]
            return False
        return True

    try:
        wait_for("the S3 server makes a bucket", made, seconds=30)
    except Failed as never:
        raise Failed(f"{never}; it said: {last}") from never
