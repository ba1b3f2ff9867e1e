"""A cluster as a user reaches it: kubectl and helm with a kubeconfig. And where its S3 server is, seen from here and from pods."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

SECONDS = 120.0


@dataclass(frozen=True)
class Storage:
    """The S3 server in the cluster."""

    endpoint: str
    """As pods reach it."""
    loopback: str
    """As the tests reach it."""
    bucket: str
    access_key: str
    secret_key: str

    def client(self) -> Any:
        """To look behind."""
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=self.loopback, region_name="us-east-1", config=Config(retries={"max_attempts": 0}), **keys)

    def read(self, uri: str) -> bytes:
        """The object at s3://bucket/key."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        content: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def list(self, prefix: str) -> list[str]:
        """The keys below a prefix of the bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


@dataclass(frozen=True)
class Kube:
    """The cluster."""

    environ: Mapping[str, str]
    """With KUBECONFIG, and a PATH that has kubectl and helm."""
    storage: Storage
    audit_log: Path | None
    """None: another cluster, whose audit log and nodes are not ours."""

    def run(self, *command: str, stdin: str | None = None, seconds: float = SECONDS) -> str:
        """A command that must succeed; what it printed."""
        done = self.attempt(*command, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def attempt(self, *command: str, stdin: str | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """A command that may fail."""
        return subprocess.run(command, input=stdin, env=dict(self.environ), capture_output=True, text=True, timeout=seconds, check=False)

    def get(self, *words: str) -> Any:
        """`kubectl get … -o json`."""
        return json.loads(self.run("kubectl", "get", *words, "-o", "json"))

    def mark(self) -> int:
        """Now, for `audit`."""
        assert self.audit_log is not None
        return self.audit_log.stat().st_size

    def audit(self, since: int = 0) -> list[dict[str, Any]]:
        """Every finished request since a mark, by the API server's audit log. Who was not let in has no user's name."""
        assert self.audit_log is not None
        with self.audit_log.open("rb") as log:
            log.seek(since)
            return [json.loads(line) for line in log if line.endswith(b"}\n")]

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The items of a list."""
        found: list[dict[str, Any]] = self.get(*words)["items"]
        return found


def environment(file: Path) -> dict[str, str]:
    """This process's variables, with those that the cluster's env.sh exports."""
    shown = subprocess.run(
        ["bash", "-c", f". {file} && env -0"], env=dict(os.environ), capture_output=True, text=True, timeout=30, check=True
    )
    return dict(line.split("=", 1) for line in shown.stdout.split("\0") if "=" in line)


def kube_of(environ: Mapping[str, str]) -> Kube:
    """The cluster that these variables tell of."""
    value = {name: environ[f"TRAININGJOB_CLUSTER_S3_{name}"] for name in ("ENDPOINT", "LOOPBACK", "BUCKET", "ACCESS_KEY", "SECRET_KEY")}
    storage = Storage(value["ENDPOINT"], value["LOOPBACK"], value["BUCKET"], value["ACCESS_KEY"], value["SECRET_KEY"])
    log = environ.get("TRAININGJOB_CLUSTER_AUDIT_LOG")
    return Kube(environ, storage, Path(log) if log else None)
