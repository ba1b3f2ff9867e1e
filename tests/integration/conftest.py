"""A real API server for all tests of this ring, with the TrainingJob definition in it, and a namespace for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration import programs
from integration.api_server import ApiServer
from integration.installation import install, make_namespace
from integration.kubectl import Kubectl
from integration.rest import Rest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """One place for all tests that a missing program leaves out, so that one line tells of them all."""
    report = yield
    if report.skipped and call.excinfo is not None and programs.SINCE in str(call.excinfo.value):
        report.longrepr = (__file__, 1, f"Skipped: {call.excinfo.value}")
    return report


@pytest.fixture(scope="session")
def tools() -> programs.Programs:
    """The programs; without them the ring is left out here, and fails in CI."""
    try:
        return programs.find()
    except programs.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))


@pytest.fixture(scope="session")
def api_server(tools: programs.Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """etcd and kube-apiserver, with RBAC and an audit log; every test leaves it running."""
    made = ApiServer(tools, tmp_path_factory.mktemp("api-server"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def definition(api_server: ApiServer) -> dict[str, Any]:
    """The TrainingJob definition of crds/, installed and served, as the API server has it."""
    return install(api_server.rest())


@pytest.fixture
def rest(api_server: ApiServer) -> Rest:
    """The API server's protocol, as the admin."""
    return api_server.rest()


@pytest.fixture
def namespace(definition: dict[str, Any], rest: Rest) -> str:
    """A fresh namespace with its default service account, as a cluster's controllers make it."""
    return make_namespace(rest, f"team-{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def kubectl(api_server: ApiServer, tools: programs.Programs, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """kubectl as a user types it: kubectl("get", "tj", "-n", namespace) -> (code, stdout, stderr)."""
    home: Path = tmp_path_factory.mktemp("kubectl")
    return Kubectl(tools.kubectl, api_server, home)
