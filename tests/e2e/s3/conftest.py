"""A real S3 server, versitygw; every test gets a bucket."""

import pytest

from s3_server import built, running


@pytest.fixture(scope="session")
def versitygw() -> str:
    """The server's program, built on first use."""
    return built()


@pytest.fixture(scope="session")
def server(versitygw, tmp_path_factory):
    with running(versitygw, tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def bucket(server):
    return server.bucket()
