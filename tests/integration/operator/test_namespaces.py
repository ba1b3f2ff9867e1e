"""A namespace is deleted while a job runs in it: its pods go, and the operator makes no others, nor tries to for long."""

from __future__ import annotations

from integration.api_server import ApiServer
from integration.operator.builders import JOB, job
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.rest import Rest
from local_job import until

SETTINGS = {"progressSeconds": 0.05}


def test_nothing_is_made_in_a_namespace_that_is_being_deleted(lasting: Operator, team: Team, rest: Rest, api_server: ApiServer) -> None:
    team.jobs.made(job())
    until("its pods", team.seen)
    team.kubelet.run_all()
    mark = api_server.mark()
    assert rest("DELETE", f"/api/v1/namespaces/{team.namespace}").ok
    for end in ("worker-0-0", "rendezvous-1", "worker-1-0"):
        team.kubelet.remove(team.name(end))
        marker = Team.fresh(rest)
        marker.jobs.made(job())
        until("later news have been dealt with", marker.seen)
    asked = [event for event in api_server.audit(mark) if event.agent == "trainingjob-operator" and event.namespace == team.namespace]
    assert [event.code for event in asked if event.verb == "create" or (event.code or 0) >= 400] == [403], "it is told once"
    assert team.pods() == {}
    assert "the pass ended early" not in lasting.log()
    team.delete()
    until("it is forgotten", lambda: f'namespace="{team.namespace}"' not in lasting.metrics())
    assert team.jobs.get(JOB)["reason"] == "NotFound"
