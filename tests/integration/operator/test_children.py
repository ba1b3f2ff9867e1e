"""A job is created: what the operator makes, in which order, for whom; and that it asks for nothing else."""

from __future__ import annotations

from typing import Any

from integration.api_server import ApiServer
from integration.jobs import Jobs
from integration.operator.builders import JOB, condition, job
from integration.operator.program import NAMESPACE, Kubelet, Operator
from integration.rest import Rest
from local_job import until


def test_a_job_gets_its_children_and_runs(api_server: ApiServer, operator: Operator, jobs: Jobs, kubelet: Kubelet, rest: Rest) -> None:
    mark = api_server.mark()
    made = jobs.made(job(replicas=3))
    until("three workers", lambda: len(kubelet.pods()) == 3)
    kubelet.run_all()
    status = until("it starts", lambda: (found := jobs.get(JOB)["status"])["phase"] == "Starting" and found)
    assert status["attempt"] == 1
    assert status["rendezvous"] == {"epoch": 1, "seen": True}
    assert status["workers"] == [0, 0, 0]
    assert condition(status, "Valid") == "True"
    uid = made["metadata"]["uid"]
    for pod in (*kubelet.pods().values(), *kubelet.pods("rendezvous").values()):
        assert [reference["uid"] for reference in pod["metadata"]["ownerReferences"]] == [uid]
        assert pod["spec"]["automountServiceAccountToken"] is False
    asked = [each for each in api_server.audit(mark) if each.agent.startswith("trainingjob-operator") and each.resource != "leases"]
    created = [event.resource for event in asked if event.verb == "create" and event.resource != "events"]
    assert created == ["controllerrevisions", "secrets", "pods", "pods", "pods", "pods"]
    assert [event.resource for event in asked if event.verb == "patch" and event.resource != "trainingjobs/status"] == [
        "networkpolicies",
        "services",
    ]
    assert {event.verb for event in asked if event.resource == "secrets" and event.namespace != NAMESPACE} == {"create"}
    assert all(event.code is not None and event.code < 300 for event in asked)
    assert [event for event in asked if event.verb in ("get", "list")] == []


def test_workers_find_their_rendezvous(operator: Operator, jobs: Jobs, kubelet: Kubelet, rest: Rest) -> None:
    jobs.made(job(replicas=1))
    pod = until("a worker", lambda: next(iter(kubelet.pods().values()), None))
    variables = {entry["name"]: entry for entry in pod["spec"]["containers"][0]["env"]}
    host, _, port = variables["TRAININGJOB_RENDEZVOUS"]["value"].partition(":")
    service, namespace, _ = host.split(".")
    found = rest("GET", f"/api/v1/namespaces/{namespace}/services/{service}").body
    (rendezvous,) = until("a rendezvous", lambda: list(kubelet.pods("rendezvous").values()))
    assert found["spec"]["selector"].items() <= rendezvous["metadata"]["labels"].items()
    assert [entry["port"] for entry in found["spec"]["ports"]] == [int(port)]
    secret = variables["TRAININGJOB_TOKEN"]["valueFrom"]["secretKeyRef"]
    kept = rest("GET", f"/api/v1/namespaces/{namespace}/secrets/{secret['name']}").body
    assert kept["immutable"]
    assert set(kept["data"]) == {"certificate", "private-key", "worker-token", "operator-token"}


def test_events_tell_the_story(operator: Operator, jobs: Jobs, kubelet: Kubelet, rest: Rest, namespace: str) -> None:
    jobs.made(job(replicas=2))
    until("two workers", lambda: len(kubelet.pods()) == 2)
    kubelet.run_all()
    first = sorted(kubelet.pods())[0]
    until("they have been seen", lambda: jobs.get(JOB)["status"].get("unseen", "") == "")
    kubelet.say(first, "Failed", exit_code=1, words='{"code": 1, "message": "out of luck", "step": 3}')
    until("another incarnation", lambda: jobs.get(JOB)["status"]["workers"] == [1, 0])

    def told() -> dict[str, Any] | None:
        events = rest("GET", f"/api/v1/namespaces/{namespace}/events").body["items"]
        found = {event["reason"]: event for event in events if event["involvedObject"]["name"] == JOB}
        return found if {"Created", "WorkerLost", "WorkerReplaced"} <= set(found) else None

    events = until("the events", told)
    assert "out of luck" in events["WorkerLost"]["message"]
    assert events["WorkerLost"]["type"] == "Warning"
    assert events["Created"]["source"]["component"] == "trainingjob-operator"
