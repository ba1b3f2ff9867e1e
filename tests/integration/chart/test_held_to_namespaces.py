"""The real operator with rights in some namespaces: it looks after the jobs there, leaves others alone, and is refused nothing."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chart.charts import OPERATOR
from integration.api_server import ApiServer
from integration.chart.program import Program
from integration.chart.release import JOB, JOBS, Release
from integration.chart.test_program import live
from integration.installation import make_namespace
from integration.operator.program import Kubelet
from integration.rest import Rest
from local_job import until


@pytest.fixture
def teams(definition: dict[str, Any], rest: Rest) -> list[str]:
    """Three namespaces, each with a job `digits`."""
    found = [make_namespace(rest, f"team-{letter}-{secrets.token_hex(3)}") for letter in "abc"]
    for team in found:
        answer = rest("POST", JOBS.format(team=team), JOB)
        assert answer.ok, answer.message
    return found


@pytest.mark.parametrize("watch_nodes", [True, False], ids=["with nodes", "without nodes"])
def test_jobs_of_its_namespaces_run_and_others_are_left_alone(
    teams: list[str], release: Callable[[], Release], api_server: ApiServer, rest: Rest, tmp_path: Path, watch_nodes: bool
):
    *watched, elsewhere = teams
    made = release()
    values = {"watchNamespaces": watched, "watchNodes": watch_nodes}
    made("install", str(OPERATOR), "--set", f"watchNamespaces={{{','.join(watched)}}},watchNodes={str(watch_nodes).lower()}")
    program = Program(made.helm.render(values | {"config": {"resyncSeconds": 1}}, release=made.name), made, api_server, tmp_path)
    try:
        until("the operator is ready", lambda: program.passes("readiness"))
        until("the second job's workers", lambda: len(Kubelet(rest, watched[1]).pods()) == 3)
        live(rest, watched[0], f"{JOBS.format(team=watched[0])}/digits")
        until("jobs are looked at again", lambda: again(api_server, made.account, watched))
        until("the second job's pods are known", lambda: not status(rest, watched[1]).get("unseen"))
        assert (status(rest, elsewhere), Kubelet(rest, elsewhere).pods()) == ({}, {})
    finally:
        program.close()
        for team in teams:
            rest("DELETE", JOBS.format(team=team))
        made("uninstall")

    asked = [event for event in api_server.audit() if event.user == made.account]
    assert [event for event in asked if event.code in (401, 403)] == []
    assert {event.namespace for event in asked} - {""} == {made.namespace, *watched}
    assert {event.resource for event in asked if not event.namespace} == ({"nodes"} if watch_nodes else set())


def status(rest: Rest, team: str) -> dict[str, Any]:
    """Of the job."""
    found: dict[str, Any] = rest("GET", f"{JOBS.format(team=team)}/digits").body.get("status", {})
    return found


def again(api_server: ApiServer, user: str, teams: list[str]) -> bool:
    """Beside the first lists (the operator's own two, kopf's) there has been another one of each namespace's jobs."""
    asked = (event for event in api_server.audit() if event.user == user)
    looks = Counter(event.namespace for event in asked if (event.resource, event.verb) == ("trainingjobs", "list"))
    return all(looks[team] > 3 for team in teams)
