"""The real operator under the chart's own permissions looks after a job from its creation to its deletion, and is refused nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chart.charts import OPERATOR
from chart.permissions import OPERATOR as CLUSTERWIDE
from chart.permissions import own_namespace, rights, unexplained
from integration.api_server import ApiServer
from integration.chart.program import Program
from integration.chart.release import JOB, JOBS, Release
from integration.operator.program import Kubelet
from integration.rest import MERGE, Rest
from local_job import until
from trainingjob_api.resource import API_VERSION

GRANTED = CLUSTERWIDE | own_namespace("")


@pytest.fixture
def made(release: Callable[[], Release], definition: dict[str, Any], rest: Rest) -> Iterator[Release]:
    """A release of the chart, for an operator of one test. Jobs that other tests have left would be its jobs too."""
    for left in rest("GET", f"/apis/{API_VERSION}/trainingjobs").body["items"]:
        rest("DELETE", f"{JOBS.format(team=left['metadata']['namespace'])}/{left['metadata']['name']}")
    found = release()
    found("install", str(OPERATOR))
    yield found
    found("uninstall")


@pytest.fixture
def program(made: Release, api_server: ApiServer, tmp_path: Path) -> Iterator[Program]:
    """The operator, ready."""
    found = Program(made.helm.render({}, release=made.name), made, api_server, tmp_path)
    try:
        until("the operator is ready", lambda: found.passes("readiness"))
        yield found
    finally:
        found.close()


def live(rest: Rest, namespace: str, job: str) -> None:
    """A job's workers run, one of them dies and is replaced, and the deadline passes; then it is deleted for its age."""
    kubelet = Kubelet(rest, namespace)
    until("three workers", lambda: len(kubelet.pods()) == 3)
    kubelet.run_all()
    kubelet.say(sorted(kubelet.pods())[0], "Failed", exit_code=1)
    until("a fourth worker", lambda: any(name.endswith("-worker-0-1") for name in kubelet.pods()))
    assert rest("PATCH", job, {"spec": {"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0}}, MERGE).ok
    until("the job is deleted", lambda: rest("GET", job).code == 404)


def test_an_operator_as_the_chart_starts_it_is_refused_nothing_and_asks_for_nothing_else(
    program: Program, made: Release, api_server: ApiServer, rest: Rest, job: str
):
    live(rest, job, f"{JOBS.format(team=job)}/digits")

    asked = [event for event in api_server.audit() if event.user == made.account]
    assert [event for event in asked if event.code in (401, 403)] == []
    used = {(event.group, event.resource, event.verb) for event in asked}
    assert used - rights(GRANTED) == set()
    assert unexplained(GRANTED, used) == set()


def test_a_job_in_kubernetes_own_namespace_waits_and_says_why(program: Program, rest: Rest):
    job = f"{JOBS.format(team='kube-system')}/digits"
    assert rest("POST", JOBS.format(team="kube-system"), JOB).ok

    def waiting() -> str:
        conditions = rest("GET", job).body.get("status", {}).get("conditions", ())
        return next((each["message"] for each in conditions if each["type"] == "Waiting" and each["status"] == "True"), "")

    said = until("it waits", waiting)

    assert rest("DELETE", job).ok
    assert "metadata.namespace: no TrainingJob may run in kube-system; create it in another namespace" in said


def test_the_chart_probes_what_the_operator_answers(program: Program):
    assert [name for name in ("startup", "liveness", "readiness") if not program.passes(name)] == []
    assert "trainingjob_operator_ready 1.0\n" in program.get("/metrics")
