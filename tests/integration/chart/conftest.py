"""The charts in a real API server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chart.charts import OPERATOR, Helm, find_helm
from integration.api_server import ApiServer
from integration.chart.guarded import children_of, when_guarded
from integration.chart.release import JOB, JOBS, RESTRICTED, Release
from integration.installation import make_namespace
from integration.rest import MERGE, Rest
from local_job import until
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.engine.values import Manifest


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The helm command."""
    return Helm(find_helm(), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def release(api_server: ApiServer, helm: Helm) -> Callable[[], Release]:
    """Make a release's name, and a namespace for it that takes restricted pods only."""

    def made() -> Release:
        name, rest = f"r{secrets.token_hex(3)}", api_server.rest()
        namespace = make_namespace(rest, f"system-{name}")
        assert rest("PATCH", f"/api/v1/namespaces/{namespace}", RESTRICTED, MERGE).ok
        return Release(helm, api_server.kubeconfig(), name, namespace)

    return made


@pytest.fixture(scope="session")
def installed(api_server: ApiServer, definition: dict[str, Any], release: Callable[[], Release]) -> Iterator[Release]:
    """The operator's chart, installed; its permissions are in force."""
    made = release()
    made("install", str(OPERATOR))
    operator = api_server.rest(made.account)
    until("the operator's permissions are in force", lambda: operator("GET", "/api/v1/nodes").ok)
    yield made
    made("uninstall")


@pytest.fixture
def job(rest: Rest, namespace: str) -> Iterator[str]:
    """A namespace with the job `digits` in it; no job is left for operators of other tests to look after."""
    jobs = JOBS.format(team=namespace)
    answer = rest("POST", jobs, JOB)
    assert answer.ok, answer.message
    yield namespace
    assert rest("DELETE", jobs).ok


@pytest.fixture(scope="session")
def guarded(api_server: ApiServer, installed: Release) -> Rest:
    """The protocol as the operator, once its admission policies are in force."""
    return when_guarded(api_server, installed)


@pytest.fixture
def children(rest: Rest, job: str) -> dict[str, Manifest]:
    """What the operator makes for the job `digits`, by kind; its two pods apart."""
    return children_of(TrainingJob.from_object(rest("GET", f"{JOBS.format(team=job)}/digits").body))
