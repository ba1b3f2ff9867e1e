"""What the API server holds the operator to, whatever its role allows: each rule with what it lets through and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from integration.chart.guarded import make
from integration.chart.release import JOBS
from integration.rest import Rest
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.child_kinds import CHILDREN
from trainingjob_operator.controllers.training_job.children.secret import secret
from trainingjob_operator.controllers.training_job.identity import derive
from trainingjob_operator.engine.cluster.key import NAME as KEY
from trainingjob_operator.engine.values import Manifest

STRANGER = {"name": "stranger"}


KINDS = ("ControllerRevision", "Secret", "NetworkPolicy", "Service", "Pod", "rendezvous")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_job_consists_of_is_taken(guarded: Rest, children: dict[str, Manifest], kind: str):
    answer = make(guarded, children[kind])

    assert answer.ok, answer.message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "owners",
    [
        lambda mine: [],
        lambda mine: [mine | {"controller": False}],
        lambda mine: [mine | {"kind": "Job"}],
        lambda mine: [mine | {"apiVersion": "batch/v1"}],
        lambda mine: [mine | {"apiVersion": "batch.trainingjob.dev.example.com/v1"}],
    ],
    ids=["nobody", "not controlled", "another kind", "another group", "a group that begins alike"],
)
def test_nothing_is_made_that_no_training_job_owns(guarded: Rest, children: dict[str, Manifest], kind: str, owners: Callable[..., Any]):
    manifest = deepcopy(children[kind])
    manifest["metadata"]["ownerReferences"] = owners(manifest["metadata"]["ownerReferences"][0])

    answer = make(guarded, manifest)

    assert answer.code == 403
    assert "denied request: metadata.ownerReferences: " in answer.message
    assert "is not controlled by a TrainingJob" in answer.message


@pytest.mark.parametrize("kind", ["ControllerRevision", "Secret", "NetworkPolicy", "Service"])
@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_nothing_is_made_for_a_job_in_kubernetes_own_namespaces(guarded: Rest, children: dict[str, Manifest], kind: str, namespace: str):
    answer = make(guarded, children[kind], namespace=namespace)

    assert answer.code == 403
    assert f"denied request: metadata.namespace: no TrainingJob may run in {namespace}; create it in another namespace" in answer.message


def test_nobody_elses_pod_is_deleted(guarded: Rest, rest: Rest, children: dict[str, Manifest], job: str):
    pods = f"/api/v1/namespaces/{job}/pods"
    mine, other = children["Pod"], children["rendezvous"]
    assert rest("POST", pods, mine).ok
    assert rest("POST", pods, other | {"metadata": STRANGER}).ok

    refused = guarded("DELETE", f"{pods}/stranger")

    assert refused.code == 403
    assert "pods stranger is not controlled by a TrainingJob, so the operator may not touch it" in refused.message
    assert guarded("DELETE", f"{pods}/{mine['metadata']['name']}").ok


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy"])
def test_nobody_elses_object_is_taken_over(guarded: Rest, rest: Rest, children: dict[str, Manifest], kind: str):
    manifest = children[kind]
    path = CHILDREN[kind].path(manifest["metadata"]["namespace"])
    theirs = manifest | {"metadata": {"name": manifest["metadata"]["name"]}}
    assert rest("POST", path, theirs).ok

    refused = make(guarded, manifest)

    assert refused.code == 403
    assert "is not controlled by a TrainingJob" in refused.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "kubernetes.io/service-account-token"}, "type: the operator makes Opaque Secrets only"),
        ({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}, "type: "),
        ({"immutable": False}, "immutable: "),
    ],
    ids=["a token", "a registry's", "one that can be changed"],
)
def test_only_opaque_immutable_secrets_are_made(guarded: Rest, children: dict[str, Manifest], change: dict[str, Any], said: str):
    manifest = children["Secret"] | change
    annotations = {"kubernetes.io/service-account.name": "default"}

    refused = make(guarded, manifest | {"metadata": manifest["metadata"] | {"annotations": annotations}})

    assert refused.code == 403
    assert f"denied request: {said}" in refused.message


JOB_NAMES = ["digits", "a.b", "a" * 63, f"{'b' * 38}-{'c' * 10}", f"{'b' * 37}--{'c' * 10}"]


@pytest.mark.parametrize("name", JOB_NAMES)
def test_a_secret_has_its_jobs_name(guarded: Rest, rest: Rest, job: str, name: str):
    found = TrainingJob.from_object(rest("GET", f"{JOBS.format(team=job)}/digits").body)
    renamed = found.model_copy(update={"metadata": found.metadata.model_copy(update={"name": name})})

    answer = make(guarded, secret(renamed, derive(b"k" * 32, found.metadata.uid)))

    assert answer.ok, answer.message


@pytest.mark.parametrize("name", ["another-0a1b2", "digits", "digits-0a1b", "digits-0a1bz", "digit-0a1b2", KEY])
def test_another_name_is_refused(guarded: Rest, children: dict[str, Manifest], name: str):
    refused = make(guarded, children["Secret"], name=name)

    assert refused.code == 403
    assert f"denied request: metadata.name: {name} is not the name of its TrainingJob" in refused.message


def test_others_are_not_held_to_it(guarded: Rest, rest: Rest, job: str):
    assert rest("POST", f"/api/v1/namespaces/{job}/secrets", {"metadata": STRANGER}, dryRun="All").ok
