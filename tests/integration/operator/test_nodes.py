"""Nodes fall silent, go, and come back: their workers are replaced at once, once, and nothing is forced that may still run."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.operator.builders import job
from integration.operator.nodes import Nodes
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.rest import Rest
from local_job import until

SETTINGS = {"progressSeconds": 0.2, "resyncSeconds": 1.0, "terminationGraceSeconds": 1, "suspendTimeoutSeconds": 1.0}
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@pytest.fixture
def node(nodes: Nodes) -> str:
    """A node that is ready."""
    return nodes.add(f"node-{secrets.token_hex(4)}")


def running(team: Team, node: str, **template: Any) -> None:
    """A job of two workers runs, the second one on the node."""
    manifest = job(template=template) if template else job()
    manifest["spec"]["recovery"] = {"maxFailures": 0}
    team.jobs.made(manifest)
    until("its pods", team.seen)
    team.place("worker-1-0", node)
    team.kubelet.run_all()
    until("it runs", lambda: team.status()["phase"] == "Starting")


def lose(nodes: Nodes, node: str, how: str) -> None:
    """The node is lost."""
    if how == "gone":
        nodes.remove(node)
    elif how == "out-of-service":
        nodes.taint(node, OUT_OF_SERVICE)
    else:
        nodes.say(node, ready=False if how == "not-ready" else None)


@pytest.mark.parametrize("how", ["not-ready", "silent", "out-of-service", "gone"])
def test_a_lost_nodes_worker_is_replaced_at_once(lasting: Operator, team: Team, nodes: Nodes, node: str, how: str) -> None:
    running(team, node)
    lose(nodes, node, how)
    until("another one", lambda: team.is_at([0, 1]))
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-1"}
    status = team.status()
    assert status.get("failures", 0) == 0, "it is not the job's fault"
    assert (status["lastFailures"][-1]["cause"], status["restarts"]) == ("NodeLost", 1)
    assert node in status["lastFailures"][-1]["message"]


def test_a_node_that_comes_back_changes_nothing_more(lasting: Operator, team: Team, nodes: Nodes, node: str) -> None:
    running(team, node)
    for ready in (False, True, False, True):
        nodes.say(node, ready=ready)
    until("another one", lambda: team.is_at([0, 1]))
    nodes.say(node, ready=False)
    nodes.say(node, ready=True)
    team.kubelet.collect()  # as the kubelet that is back
    until("the old one is gone", lambda: "worker-1-0" not in team.pods())
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-1"}
    assert team.status()["restarts"] == 1


def test_a_stuck_pod_is_forced_only_when_it_can_do_no_harm(lasting: Operator, rest: Rest, nodes: Nodes, api_server: ApiServer) -> None:
    """Nobody says that the running job's others train; of the suspended ones nothing is to run, but one pod holds a claim."""
    mark = api_server.mark()
    runs, free, claims = (Team.fresh(rest) for _ in range(3))
    volumes = {free: {"emptyDir": {}}, claims: {"persistentVolumeClaim": {"claimName": "data"}}}
    for team in (runs, free, claims):
        place = nodes.add(f"node-{secrets.token_hex(4)}")
        running(team, place, volumes=[{"name": "data"} | volumes.get(team, {"emptyDir": {}})])
        if team is not runs:
            team.spec(suspend=True)
            until("the stop is asked for", team.stops)
        nodes.say(place, ready=None)
    until("another one", lambda: runs.is_at([0, 1]))
    for team in (free, claims):
        until("it is suspended", partial(team.holds, "Suspended"), seconds=30.0)
    until("it is forced", lambda: "worker-1-0" not in free.pods(), seconds=30.0)
    for team in (runs, claims):
        until("its time is long over", partial(is_long_over, team, "worker-1-0"), seconds=30.0)
        assert "worker-1-0" in team.pods()
        asked = [event for event in api_server.audit(mark) if event.verb == "delete" and event.agent == "trainingjob-operator"]
        assert [event.name for event in asked if event.namespace == team.namespace].count(team.name("worker-1-0")) == 1


def is_long_over(team: Team, end: str) -> bool:
    """The pod's grace has ended so long ago that the operator would have forced it."""
    ends = team.pods()[end]["metadata"].get("deletionTimestamp")
    return ends is not None and (datetime.now(UTC) - datetime.fromisoformat(ends)).total_seconds() > 8.0
