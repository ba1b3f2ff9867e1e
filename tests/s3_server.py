"""A real S3 server, versitygw, on a free port of the loopback, with keys of its own; for tests and measurements."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_job import Process

TOOL = Path(__file__).parent / "tools" / "versitygw.sh"
START_TRIES = 200


@dataclass(frozen=True)
class Bucket:
    """Where a test's objects lie, and what opens it."""

    endpoint: str
    name: str
    environ: dict[str, str]

    def storage(self, path: str = "jobs/digits", **more: str) -> dict[str, str]:
        """A job's `spec.checkpoint.storage` in it."""
        return {"uri": f"s3://{self.name}/{path}", "endpointUrl": self.endpoint, "region": "us-east-1"} | more

    def open_to(self, monkeypatch: Any) -> None:
        """What the test starts has the keys, as it would have them on a cluster."""
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Server:
    """A running versitygw."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path
    process: Process

    def client(self) -> Any:
        """A client of another make, to set up and to look behind."""
        config = Config(retries={"max_attempts": 0}, connect_timeout=0.2, read_timeout=10)
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys)

    def bucket(self) -> Bucket:
        """A new bucket."""
        name = f"jobs-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return Bucket(self.endpoint, name, {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key})


def built() -> str:
    """The server's program, built on first use."""
    made = subprocess.run([str(TOOL)], capture_output=True, text=True, timeout=1500, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextmanager
def running(program: str, folder: Path) -> Iterator[Server]:
    """A server that keeps its objects in `folder`; it ends with the block."""
    for _ in range(3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        access, secret = secrets.token_hex(8), secrets.token_hex(16)
        # The keys go by the environment: arguments can be read by everybody.
        environ = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
        (folder / "objects").mkdir(exist_ok=True)
        words = ["--port", f"127.0.0.1:{port}", "--region", "us-east-1", "--quiet", "posix", str(folder / "objects")]
        with (folder / "versitygw.out").open("wb") as output:
            process = subprocess.Popen([program, *words], env=environ, stdout=output, stderr=subprocess.STDOUT)
        known = Process.of(process.pid)
        try:
            if known is not None and _answers(found := Server(f"http://127.0.0.1:{port}", access, secret, folder, known), process):
                yield found
                return
        finally:
            process.kill()  # it may be stopped
            process.wait(20)
    raise AssertionError((folder / "versitygw.out").read_text())


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it lists its buckets; False: it has ended, perhaps since somebody took the port."""
    for _ in range(START_TRIES):
        try:
            server.client().list_buckets()
        except (BotoCoreError, ClientError):
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            return False
        return True
    return False
