"""Pods that the API server does not take: the job waits, says why, and goes on when it may."""

from __future__ import annotations

from integration.api_server import ApiServer
from integration.operator.builders import job
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.rest import MERGE
from local_job import until

SETTINGS = {"progressSeconds": 0.1}
"""So that a quiet time of many passes is short."""


def set_quota(team: Team, pods: int) -> None:
    """A quota of so many pods; what a cluster's controller would count is set by hand."""
    path = f"/api/v1/namespaces/{team.namespace}/resourcequotas"
    if not team.rest("GET", f"{path}/few").ok:
        team.rest("POST", path, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}})
    used = str(len(team.pods()))
    hard = {"pods": str(pods)}
    for where, change in (("", {"spec": {"hard": hard}}), ("/status", {"status": {"hard": hard, "used": {"pods": used}}})):
        answer = team.rest("PATCH", f"{path}/few{where}", change, MERGE)
        assert answer.ok, answer.message


def passes(operator: Operator) -> float:
    """How many passes there have been."""
    lines = operator.metrics().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("trainingjob_operator_passes_total"))


def test_a_full_quota_is_waited_for(lasting: Operator, team: Team) -> None:
    set_quota(team, 2)
    team.jobs.made(job(replicas=3))
    until("it waits", lambda: team.holds("Waiting"))
    found = team.condition("Waiting")
    assert found["reason"] == "QuotaExceeded"
    assert "exceeded quota: few" in found["message"]
    until("what fits is there", lambda: len(team.living()) == 2)
    assert team.status().get("failures", 0) == 0
    set_quota(team, 10)
    until("all its pods", lambda: team.living() == {"rendezvous-1", "worker-0-0", "worker-1-0", "worker-2-0"})
    until("it waits no more", lambda: team.condition("Waiting")["status"] == "False")
    assert team.reasons().count("QuotaExceeded") == 1


def test_a_smaller_job_does_not_wait_for_what_it_no_longer_wants(lasting: Operator, team: Team) -> None:
    set_quota(team, 2)
    team.jobs.made(job(replicas=2))
    until("it waits", lambda: team.holds("Waiting"))
    until("what fits is there", lambda: len(team.living()) == 2)
    team.spec(workers={"replicas": 1})
    until("it waits no more", lambda: team.condition("Waiting")["status"] == "False")


def test_a_refused_template_is_told_once_in_the_api_servers_words(lasting: Operator, team: Team, api_server: ApiServer) -> None:
    team.jobs.made(job(template={"priorityClassName": "vip"}))
    until("it waits", lambda: team.holds("Waiting"))
    found = team.condition("Waiting")
    assert found["reason"] == "Refused"
    assert "no PriorityClass with name vip was found" in found["message"]
    until("it is told", lambda: "Refused" in team.reasons())
    before, mark = passes(lasting), api_server.mark()
    until("ten more passes", lambda: passes(lasting) >= before + 10)
    assert team.reasons().count("Refused") == 1
    told = [event for event in api_server.audit(mark) if event.namespace == team.namespace and event.agent == "trainingjob-operator"]
    assert {event.resource for event in told} == {"networkpolicies", "services", "pods"}, "it is tried again, and nothing else is written"
    team.delete()
    team.jobs.made(job())
    until("another job of its name runs", lambda: team.living() == {"rendezvous-1", "worker-0-0", "worker-1-0"})


def test_pods_are_taken_where_the_restricted_standard_is_enforced(lasting: Operator, team: Team) -> None:
    team.label(**{"pod-security.kubernetes.io/enforce": "restricted"})
    team.jobs.made(job())
    until("its pods", team.seen)
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-0"}
    assert team.condition("Waiting") == {}
