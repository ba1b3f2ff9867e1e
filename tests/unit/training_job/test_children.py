"""What is known of a job's children: the judgement of nodes, late answers, and Secrets that are never read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trainingjob_operator.controllers.training_job.cluster.children import JobChildren
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Pod, job_key
from trainingjob_operator.engine.cluster.api import ApiError
from trainingjob_operator.engine.values import Deletion, ResourceKey
from unit.engine.scripted import Scripted
from unit.training_job.manifests import OWNER, manifest

KEY = job_key("team", "digits")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Known:
    """Children, told of by hand."""

    def __init__(self) -> None:
        self.api = Scripted()
        self.woken: list[ResourceKey] = []
        self.children = JobChildren(self.api, self.woken.append)  # type: ignore[arg-type]
        self.version = 10

    def tell(self, body: dict[str, Any]) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        informers = {informer._resource.kind: informer for informer in self.children.informers}
        informers["Node" if "ready" in body else "Pod"].put(body)

    def node(self, ready: bool) -> None:
        conditions = [{"type": "Ready", "status": str(ready)}]
        self.tell({"metadata": {"name": "node-1", "uid": "node"}, "status": {"conditions": conditions}, "ready": ready})

    def lose_node(self) -> None:
        informer = next(informer for informer in self.children.informers if informer._resource.kind == "Node")
        informer.drop("", "node-1")

    def pod(self) -> Pod:
        (found,) = self.children.pods(KEY, "job-uid", NOW)
        return found


@pytest.fixture
def known() -> Known:
    return Known()


def test_a_pod_on_a_node_that_was_never_seen_is_not_lost(known: Known) -> None:
    """The news of a new node may come after the news of its first pod."""
    known.tell(manifest())
    assert known.pod().reason == ""


def test_a_pod_on_a_node_that_is_not_ready_or_gone(known: Known) -> None:
    known.node(ready=True)
    known.tell(manifest())
    assert known.pod().reason == ""
    known.woken.clear()
    known.node(ready=False)
    assert (known.pod().reason, known.pod().message) == (NODE_LOST, "node node-1 is not ready")
    known.node(ready=True)
    assert known.pod().reason == ""
    known.lose_node()
    assert known.pod().message == "node node-1 is gone"
    known.node(ready=True)
    assert known.pod().reason == ""
    assert known.woken == [KEY] * 4


@pytest.mark.parametrize(
    ("late", "volumes", "stuck"),
    [(6.0, [], True), (4.0, [], False), (-30.0, [], False), (6.0, [{"name": "a", "persistentVolumeClaim": {"claimName": "a"}}], False)],
)
def test_stuck_is_what_should_be_gone_and_holds_nothing(known: Known, late: float, volumes: list[Any], stuck: bool) -> None:
    known.node(ready=False)
    body = manifest(deletionTimestamp=(NOW - timedelta(seconds=late)).isoformat())
    known.tell(body | {"spec": {"nodeName": "node-1", "volumes": volumes}})
    assert known.pod().stuck is stuck


def test_a_pod_that_goes_slowly_on_a_good_node_is_not_stuck(known: Known) -> None:
    known.node(ready=True)
    known.tell(manifest(deletionTimestamp=(NOW - timedelta(hours=1)).isoformat()))
    assert not known.pod().stuck


def test_children_of_another_job_of_that_name_are_not_taken(known: Known) -> None:
    known.tell(manifest())
    assert known.children.pods(KEY, "another", NOW) == ()


async def test_a_secret_is_known_from_having_been_made_until_a_pod_misses_it(known: Known) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "digits-1", "namespace": "team", "ownerReferences": [OWNER]}}
    known.api.answers.append(ApiError(409, "AlreadyExists", ""))
    await known.children.create(KEY, secret)
    assert known.children.others(KEY, "job-uid") == {("Secret", "digits-1")}
    assert [method for method, _, _ in known.api.asked] == ["POST"]
    waits = {"name": "worker", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}
    known.tell(manifest({"phase": "Pending", "containerStatuses": [waits]}))
    assert known.children.others(KEY, "job-uid") == frozenset()


SECRET = {"name": "TRAININGJOB_PRIVATE_KEY", "valueFrom": {"secretKeyRef": {"name": "digits-1", "key": "private-key"}}}


def rendezvous(phase: str, *, misses: bool = False) -> dict[str, Any]:
    """A rendezvous' pod, into which somebody has put a container of his own."""
    state = {"waiting": {"reason": "CreateContainerConfigError"}} if misses else {}
    status = {"phase": phase, "containerStatuses": [{"name": "rendezvous", "state": state}]}
    body = manifest(status, "rendezvous", name="rendezvous", uid="another-uid")
    theirs = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "token"}}}
    plain = {"name": "TRAININGJOB_EPOCH", "value": "1"}
    return body | {"spec": {"containers": [{"env": [theirs]}, {"env": [plain, SECRET]}, {}]}}


def test_a_secret_is_known_from_a_rendezvous_that_runs(known: Known) -> None:
    """Who has just begun need not ask for every job's."""
    known.tell(rendezvous("Pending"))
    assert known.children.others(KEY, "job-uid") == frozenset()
    known.tell(rendezvous("Running"))
    assert known.children.others(KEY, "job-uid") == {("Secret", "digits-1")}
    known.tell(rendezvous("Running", misses=True))
    assert known.children.others(KEY, "job-uid") == frozenset(), "it cannot start again in its place"


def test_a_rendezvous_that_runs_does_not_tell_of_a_secret_that_another_pod_misses(known: Known) -> None:
    waits = {"name": "worker", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}
    known.tell(manifest({"phase": "Pending", "containerStatuses": [waits]}))
    known.tell(rendezvous("Running"))
    assert known.children.others(KEY, "job-uid") == frozenset()


async def test_a_pod_that_is_there_already_is_taken_if_it_is_ours(known: Known) -> None:
    body = {"kind": "Pod"} | manifest()
    body["metadata"]["resourceVersion"] = "20"
    known.api.answers += [ApiError(409, "AlreadyExists", ""), {"items": [body]}]
    await known.children.create(KEY, body)
    assert known.pod().name == "pod"


async def test_a_pod_that_is_somebody_elses_is_refused_and_one_that_has_just_gone_is_tried_again(known: Known) -> None:
    body = {"kind": "Pod"} | manifest()
    theirs = {"kind": "Pod"} | manifest(ownerReferences=[OWNER | {"uid": "another"}])
    known.api.answers += [ApiError(409, "AlreadyExists", ""), {"items": [theirs]}]
    with pytest.raises(ApiError, match="belongs to somebody else; delete it") as refused:
        await known.children.create(KEY, body)
    assert refused.value.status == 422
    known.api.answers += [ApiError(409, "AlreadyExists", ""), {"items": []}]
    with pytest.raises(ApiError, match="was there a moment ago") as gone:
        await known.children.create(KEY, body)
    assert gone.value.status == 409


@pytest.mark.parametrize(("grace", "expected"), [(None, {}), (0, {"gracePeriodSeconds": 0})])
async def test_only_the_pod_that_is_meant_is_deleted(known: Known, grace: int | None, expected: dict[str, int]) -> None:
    known.tell(manifest())
    known.api.answers.append(ApiError(409, "Conflict", "another uid"))
    await known.children.delete("team", Deletion("Pod", "pod", grace))
    kinds = {"apiVersion": "v1", "kind": "DeleteOptions"}
    assert known.api.bodies == [kinds | {"preconditions": {"uid": "pod-uid"}} | expected]


def paths(children: JobChildren) -> list[str]:
    """What is watched."""
    return sorted(informer._path for informer in children.informers)


def test_of_some_namespaces_each_is_watched_apart_and_nodes_only_if_they_may_be() -> None:
    children = JobChildren(Scripted(), [].append, ("a", "b"), watch_nodes=False)  # type: ignore[arg-type]
    groups = ("/api/v1/{}pods", "/api/v1/{}services", "/apis/apps/v1/{}controllerrevisions", "/apis/networking.k8s.io/v1/{}networkpolicies")
    assert paths(children) == sorted(group.format(f"namespaces/{place}/") for group in groups for place in "ab")
    everywhere = JobChildren(Scripted(), [].append)  # type: ignore[arg-type]
    assert paths(everywhere) == sorted([*(group.format("") for group in groups), "/api/v1/nodes"])


async def test_what_is_written_in_one_namespace_is_known_there() -> None:
    api = Scripted()
    children = JobChildren(api, [].append, ("team", "other"))  # type: ignore[arg-type]
    for place in ("team", "other"):
        body = {"kind": "Pod"} | manifest(namespace=place, resourceVersion="20")
        service = {"kind": "Service", "metadata": body["metadata"] | {"name": "service", "uid": "s"}}
        api.answers += [body, service]
        key = job_key(place, "digits")
        await children.create(key, body)
        await children.create(key, service)
        assert [pod.name for pod in children.pods(key, "job-uid", NOW)] == ["pod"]
        assert children.others(key, "job-uid") == {("Service", "service")}
    api.answers.append({"kind": "Status"})
    await children.delete("other", Deletion("Pod", "pod"))
    assert api.bodies[-1]["preconditions"] == {"uid": "pod-uid"}
