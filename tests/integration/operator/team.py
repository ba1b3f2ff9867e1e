"""One namespace with TrainingJobs: what there is in it, as a person with kubectl would look."""

from __future__ import annotations

import secrets
from typing import Any

from integration.installation import make_namespace
from integration.jobs import Jobs
from integration.operator.builders import JOB, condition
from integration.operator.program import Kubelet
from integration.rest import MERGE, Answer, Rest

OBJECTS = {
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
}
"""The kinds of a job's children that are no pods."""


class Team:
    """A namespace."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest = rest
        self.namespace = namespace
        self.jobs = Jobs(rest, namespace)
        self.kubelet = Kubelet(rest, namespace)

    @classmethod
    def fresh(cls, rest: Rest) -> Team:
        """Another namespace."""
        return cls(rest, make_namespace(rest, f"team-{secrets.token_hex(4)}"))

    def status(self, name: str = JOB) -> dict[str, Any]:
        """The job's status; empty if it has none, or is gone."""
        found: dict[str, Any] = self.jobs.get(name).get("status", {})
        return found

    def condition(self, kind: str, name: str = JOB) -> dict[str, Any]:
        """A condition of the job; empty if it is not there."""
        return next((found for found in self.status(name).get("conditions", ()) if found["type"] == kind), {})

    def holds(self, kind: str, name: str = JOB) -> bool:
        """The condition is true."""
        return condition(self.status(name), kind) == "True"

    def pods(self) -> dict[str, dict[str, Any]]:
        """All pods, by the end of their names: worker-0-0, rendezvous-1."""
        found = self.kubelet.pods() | self.kubelet.pods("rendezvous")
        return {"-".join(name.rsplit("-", 3 if "-worker-" in name else 2)[1:]): pod for name, pod in found.items()}

    def living(self) -> set[str]:
        """The pods that are neither over nor going, by the end of their names."""
        return {end for end, pod in self.pods().items() if _lives(pod)}

    def name(self, end: str) -> str:
        """The whole name of a pod."""
        found: str = self.pods()[end]["metadata"]["name"]
        return found

    def owners(self) -> dict[str, list[str]]:
        """Kind -> the uids of the owners of all children of that kind."""
        pods = [*self.kubelet.pods().values(), *self.kubelet.pods("rendezvous").values()]
        found = {"Pod": [pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods]}
        for kind, path in OBJECTS.items():
            items = self.rest("GET", path.format(self.namespace), labelSelector="batch.trainingjob.dev/job").body["items"]
            found[kind] = [item["metadata"]["ownerReferences"][0]["uid"] for item in items]
        return found

    def events(self, name: str = JOB) -> list[dict[str, Any]]:
        """The events about the job."""
        items = self.rest("GET", f"/api/v1/namespaces/{self.namespace}/events").body["items"]
        return [event for event in items if event["involvedObject"]["name"] == name]

    def reasons(self, name: str = JOB) -> list[str]:
        """Why there were events."""
        return [event["reason"] for event in self.events(name)]

    def stops(self, name: str = JOB) -> bool:
        """An end in order has been asked for."""
        return "stop" in self.status(name)

    def spec(self, name: str = JOB, **fields: Any) -> Answer:
        """Change the job's spec."""
        answer = self.jobs.patch(name, {"spec": fields})
        assert answer.ok, answer.message
        return answer

    def seen(self, name: str = JOB) -> bool:
        """The operator has made all pods, and knows it."""
        status = self.status(name)
        return bool(status.get("rendezvous", {}).get("seen")) and not status.get("unseen")

    def is_at(self, incarnations: list[int], name: str = JOB) -> bool:
        """The workers have got these, and their pods are made."""
        return self.status(name).get("workers") == incarnations and self.seen(name)

    def place(self, end: str, node: str) -> None:
        """What a scheduler does: a pod that has no node is gone at once when it is deleted."""
        name = self.name(end)
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        answer = self.rest("POST", f"{self.kubelet.path}/{name}/binding", body)
        assert answer.ok, answer.message

    def delete(self, name: str = JOB) -> None:
        """Delete the job; nothing collects its children."""
        answer = self.rest("DELETE", f"{self.jobs.path}/{name}")
        assert answer.ok, answer.message

    def label(self, **labels: str) -> None:
        """Label the namespace."""
        answer = self.rest("PATCH", f"/api/v1/namespaces/{self.namespace}", {"metadata": {"labels": labels}}, MERGE)
        assert answer.ok, answer.message


def _lives(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] not in ("Succeeded", "Failed")
