"""A real S3 server, versitygw, on a free port, with keys of its own; every test gets a bucket."""

import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

TOOL = Path(__file__).parents[2] / "tools" / "versitygw.sh"
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

    def open_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def client(self):
        """A client of another make, to set up and to look behind."""
        config = Config(retries={"max_attempts": 0}, connect_timeout=0.2, read_timeout=10)
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys)


@pytest.fixture(scope="session")
def versitygw() -> str:
    """The server's program, built on first use."""
    built = subprocess.run([str(TOOL)], capture_output=True, text=True, timeout=1500, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@pytest.fixture(scope="session")
def server(versitygw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    for _ in range(3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        found = Server(f"http://127.0.0.1:{port}", secrets.token_hex(8), secrets.token_hex(16), folder)
        # The keys go by the environment: arguments can be read by everybody.
        environ = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": found.access_key, "ROOT_SECRET_KEY": found.secret_key}
        with (folder / "versitygw.out").open("wb") as output:
            command = [
                versitygw,
                "--port",
                f"127.0.0.1:{port}",
                "--region",
                "us-east-1",
                "--quiet",
                "posix",
                str(_made(folder / "objects")),
            ]
            process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            if _answers(found, process):
                yield found
                return
        finally:
            process.terminate()
            process.wait(20)
    pytest.fail((folder / "versitygw.out").read_text())


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _answers(server: Server, process: subprocess.Popen) -> bool:
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


@pytest.fixture
def bucket(server):
    name = f"jobs-{secrets.token_hex(6)}"
    server.client().create_bucket(Bucket=name)
    environ = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return Bucket(server.endpoint, name, environ)
