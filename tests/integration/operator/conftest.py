"""An operator on the API server, and what a test does with its jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from integration.api_server import ApiServer
from integration.installation import make_namespace
from integration.jobs import Jobs
from integration.operator.nodes import Nodes
from integration.operator.program import NAMESPACE, Kubelet, Operator
from integration.operator.team import Team
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until as wait_until


@pytest.fixture(scope="session")
def system_namespace(definition: dict[str, Any], api_server: ApiServer) -> str:
    """The operator's own namespace."""
    return make_namespace(api_server.rest(), NAMESPACE)


@pytest.fixture
def jobs(rest: Rest, namespace: str) -> Jobs:
    """The test's TrainingJobs."""
    return Jobs(rest, namespace)


@pytest.fixture
def kubelet(rest: Rest, namespace: str) -> Kubelet:
    """For the test's pods."""
    return Kubelet(rest, namespace)


@pytest.fixture
def operators(system_namespace: str, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Makes operators, and ends them."""
    made: list[Operator] = []

    def make(kubeconfig: Path, *, lease: str = "", **settings: Any) -> Operator:
        folder = tmp_path / f"operator-{len(made)}"
        folder.mkdir()
        made.append(Operator(folder, kubeconfig, lease=lease, **settings))
        return made[-1]

    yield make
    for operator in made:
        operator.close()
        print(operator.log())  # shown where a test has failed


@pytest.fixture
def operator(operators: Callable[..., Operator], api_server: ApiServer) -> Operator:
    """One that is ready."""
    found = operators(api_server.kubeconfig())
    found.start()
    found.ready()
    return found


@pytest.fixture
def team(rest: Rest, namespace: str) -> Team:
    """The test's namespace."""
    return Team(rest, namespace)


@pytest.fixture
def nodes(definition: dict[str, Any], rest: Rest) -> Iterator[Nodes]:
    """The test's nodes; none of them is left."""
    found = Nodes(rest)
    yield found
    for name in sorted(found.names):
        found.remove(name)


@pytest.fixture(scope="module")
def lasting(
    system_namespace: str, api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Operator]:
    """One operator for all tests of a file, with the file's SETTINGS. It must never fail, and must end in order."""
    found = Operator(tmp_path_factory.mktemp("operator"), api_server.kubeconfig(), **getattr(request.module, "SETTINGS", {}))
    found.start()
    found.ready()
    yield from _lasts(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(api_server: ApiServer) -> AsyncIterator[Proxy]:
    """In front of the API server, for all tests of a file."""
    async with Proxy(api_server) as found:
        yield found


@pytest.fixture
async def own_proxy(api_server: ApiServer) -> AsyncIterator[Proxy]:
    """In front of the API server, for one test."""
    async with Proxy(api_server) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(
    system_namespace: str, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Operator]:
    """As `lasting`, behind the proxy."""
    found = Operator(tmp_path_factory.mktemp("operator"), proxy.kubeconfig(), **getattr(request.module, "SETTINGS", {}))
    found.start()
    await wait_until("the operator is ready", found.is_ready)
    for _ in _lasts(found):
        yield found


def _lasts(operator: Operator) -> Iterator[Operator]:
    try:
        yield operator
        assert operator.is_ready()
        assert operator.stop() == 0
        assert "the pass failed" not in operator.log()
        assert "the operator has failed" not in operator.log()
    finally:
        operator.close()
        print(operator.log())


@pytest.fixture(autouse=True)
def no_jobs_left(rest: Rest, request: pytest.FixtureRequest) -> Iterator[None]:
    """Without controllers nothing goes by itself: a job of one test must not be the next one's."""
    yield
    for item in rest("GET", "/apis/batch.trainingjob.dev/v1alpha1/trainingjobs").body.get("items", ()):
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        rest("DELETE", f"/apis/batch.trainingjob.dev/v1alpha1/namespaces/{namespace}/trainingjobs/{name}")
