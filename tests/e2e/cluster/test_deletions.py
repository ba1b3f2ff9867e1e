"""A namespace, or a job, is deleted while it trains. What was trained is not lost: another job takes the storage over, if it is told to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from e2e.cluster.conftest import Make, make_team
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from e2e.cluster.release import DEPLOYMENT, NAMESPACE
from local_job import until


@pytest.mark.timeout(300)
def test_a_namespace_is_deleted_while_a_job_trains_in_it(own_cluster: Kube, make: Make, long: dict[str, Any], undisturbed: str) -> None:
    heir = make("inherits", **long)
    first = replace(heir, namespace=make_team(own_cluster))
    first.apply()
    first.commits(200)
    began = own_cluster.mark()
    own_cluster.run("kubectl", "delete", "namespace", first.namespace, "--wait=false")
    until("it is gone", lambda: own_cluster.attempt("kubectl", "get", "namespace", first.namespace).returncode != 0, 120)
    refused = [line for line in asked(own_cluster, began, first.namespace) if line["responseStatus"]["code"] == 403]
    assert len(refused) <= 1, [line["requestURI"] for line in refused]

    heir.apply()
    until("it is refused", lambda: heir.status().get("phase") == "Failed", 120)
    assert f"belongs to the job {first.namespace}/{first.name}" in heir.status()["message"]
    assert "set checkpoint.adopt: true" in heir.status()["message"]
    heir.delete()
    saved = max(heir.committed())
    heir.manifest["spec"]["checkpoint"]["adopt"] = True
    heir.apply()
    heir.succeeds()
    assert heir.weights() == undisturbed
    assert min(entry["step"] for entry in since_second_claim(heir) if entry["kind"] == "checkpoint") > saved
    assert "Traceback" not in own_cluster.run("kubectl", "-n", NAMESPACE, "logs", f"deployment/{DEPLOYMENT}", "--tail=-1")


@pytest.mark.timeout(300)
def test_a_job_is_deleted_and_made_again_under_its_name_while_the_old_one_trains(
    make: Make, long: dict[str, Any], undisturbed: str
) -> None:
    job = make("again", **long)
    job.manifest["spec"]["checkpoint"]["adopt"] = True
    job.apply()
    job.commits(200)
    old = job.uids()
    job.delete("--wait=false")
    assert "created" in job.apply()
    until("the old pods are gone", lambda: not set(old) & set(everywhere(job)), 120)
    status = job.succeeds()
    assert not set(job.uids().values()) & set(old.values())
    assert job.weights() == undisturbed
    assert status["workers"] == [0, 0, 0]
    claims = [entry["owner_uid"] for entry in job.log() if entry["kind"] == "claim"]
    assert len(claims) == len(set(claims)) == 2
    assert {entry["attempt"] for entry in since_second_claim(job) if entry["kind"] != "claim"} == {status["attempt"]}, (
        "the old one is fenced"
    )


def since_second_claim(job: ClusterJob) -> list[dict[str, Any]]:
    """What the second owner of the prefix has written into the log."""
    log = job.log()
    _, second = [place for place, entry in enumerate(log) if entry["kind"] == "claim"]
    return log[second:]


def everywhere(job: ClusterJob) -> list[str]:
    """All pods of the job's name, those too that are going."""
    return [pod["metadata"]["name"] for pod in job.kube.items("pods", "-n", job.namespace, "-l", f"batch.trainingjob.dev/job={job.name}")]


def asked(kube: Kube, since: int, namespace: str) -> list[dict[str, Any]]:
    """The operator's requests for things of a namespace."""
    user = f"system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}"
    return [
        line
        for line in kube.audit(since)
        if line["user"].get("username") == user and line.get("objectRef", {}).get("namespace") == namespace
    ]
