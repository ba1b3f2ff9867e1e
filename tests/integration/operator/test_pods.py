"""What becomes of pods, as a kubelet, a scheduler and an evicting node tell it: who is replaced, what is counted, what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.operator.builders import job
from integration.operator.nodes import Nodes
from integration.operator.program import Operator
from integration.operator.team import Team
from local_job import until


def running(team: Team, **spec: Any) -> None:
    """A job of two workers runs."""
    manifest = job()
    manifest["spec"] |= spec
    team.jobs.made(manifest)
    until("its pods", team.seen)
    team.kubelet.run_all()
    until("it runs", lambda: team.status()["phase"] == "Starting")


def fail(team: Team, end: str, code: int, words: str = "", **status: Any) -> None:
    """The pod's container ends with this code and these last words."""
    last = json.dumps({"code": code, "message": words}) if words else ""
    team.kubelet.say(team.name(end), "Failed", exit_code=code, words=last, **status)


def test_a_crash_is_counted_and_the_worker_comes_back(lasting: Operator, team: Team) -> None:
    running(team)
    fail(team, "worker-1-0", 1, "boom")
    until("another one", lambda: team.is_at([0, 1]))
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-1"}
    status = team.status()
    assert (status["failures"], status["restarts"]) == (1, 1)
    assert status["lastFailures"][-1] | {"time": None} == {
        "worker": 1,
        "cause": "Exit1",
        "message": "it failed with exit code 1: boom",
        "time": None,
    }


def test_a_user_error_ends_the_job_with_the_agents_words(lasting: Operator, team: Team) -> None:
    running(team)
    fail(team, "worker-0-0", 64, "spec.training.task.class: there is no module digitz; did you mean digits?")
    until("it has failed", lambda: team.holds("Failed"))
    found = team.condition("Failed")
    assert found["reason"] == "UserError"
    assert "did you mean digits?" in found["message"]
    assert team.status()["workers"] == [0, 0]
    until("it is told", lambda: "UserError" in team.reasons())  # events come after the status


def test_out_of_memory_is_named(lasting: Operator, team: Team) -> None:
    running(team, recovery={"maxFailures": 0})
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    statuses = [{"name": "worker", "ready": False, "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": killed}}]
    team.kubelet.say(team.name("worker-0-0"), "Failed", containerStatuses=statuses)
    until("it has failed", lambda: team.holds("Failed"))
    assert team.condition("Failed")["reason"] == "TooManyFailures"
    assert "OOMKilled" in team.condition("Failed")["message"]


@pytest.mark.parametrize("reason", ["EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet", "DeletionByPodGC"])
def test_a_disruption_is_not_the_jobs_fault(lasting: Operator, team: Team, reason: str) -> None:
    running(team, recovery={"maxFailures": 0})
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "made up by a test"}
    fail(team, "worker-0-0", 143, conditions=[disrupted])
    until("another one", lambda: team.is_at([1, 0]))
    assert team.status().get("failures", 0) == 0
    assert team.status()["restarts"] == 1


@pytest.mark.parametrize("grace", [0, 600], ids=["vanished", "with-grace"])
def test_a_deleted_pod_is_replaced_at_once(lasting: Operator, team: Team, nodes: Nodes, grace: int) -> None:
    running(team, recovery={"maxFailures": 0})
    nodes.add("busy")
    team.place("worker-0-0", "busy")
    team.kubelet.remove(team.name("worker-0-0"), grace=grace)
    until("another one", lambda: team.is_at([1, 0]))
    assert ("worker-0-0" in team.pods()) == (grace > 0), "its end is not waited for"
    assert team.living() == {"rendezvous-1", "worker-0-1", "worker-1-0"}
    assert team.status().get("failures", 0) == 0


def test_a_lost_rendezvous_is_replaced_under_the_next_epoch(lasting: Operator, team: Team) -> None:
    running(team)
    team.kubelet.remove(team.name("rendezvous-1"))
    until("another one", lambda: team.status()["rendezvous"] == {"epoch": 2, "seen": True})
    assert team.living() == {"rendezvous-2", "worker-0-0", "worker-1-0"}
    (service,) = team.rest("GET", f"/api/v1/namespaces/{team.namespace}/services").body["items"]
    assert service["spec"]["selector"]["batch.trainingjob.dev/epoch"] == "2"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: no GPU"}]},
            "Unschedulable: 0/2 nodes: no GPU",
        ),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
            "ImagePullBackOff: no such image",
        ),
    ],
    ids=["unschedulable", "no-image"],
)
def test_what_a_pod_waits_for_is_said_and_taken_back(lasting: Operator, team: Team, status: dict[str, Any], words: str) -> None:
    team.jobs.made(job())
    until("its pods", team.seen)
    for container in status.get("containerStatuses", ()):
        container |= {"name": "worker", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    team.kubelet.say(team.name("worker-0-0"), "Pending", **status)
    until("it waits", lambda: team.holds("Waiting"))
    found = team.condition("Waiting")
    assert found["reason"] == "PodsWaiting"
    assert found["message"] == f"{team.name('worker-0-0')}: {words}"
    assert team.status()["message"] == found["message"]
    scheduled = {"type": "PodScheduled", "status": "True"}
    for name in (*team.kubelet.pods(), *team.kubelet.pods("rendezvous")):
        team.kubelet.say(name, "Running", conditions=[scheduled])
    until("it waits no more", lambda: team.condition("Waiting")["status"] == "False")
    assert team.status()["phase"] == "Starting"
    assert team.reasons().count("PodsWaiting") == 1
