"""The status is the operator's and the spec is the user's; and no status that a newer operator writes is ever refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from integration.api.edits import nested
from integration.api_server import ApiServer
from integration.jobs import Jobs
from integration.rest import Rest
from trainingjob_api.status import CONDITIONS, Condition, Status
from unit.api.manifests import MINIMAL, yaml
from unit.api.test_status_model import full

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def job(jobs: Jobs) -> dict[str, Any]:
    """A job as it is made."""
    return jobs.made(yaml(MINIMAL))


def test_a_new_job_has_no_status_and_is_of_the_first_generation(job: dict[str, Any]):
    assert "status" not in job
    assert job["metadata"]["generation"] == 1


def test_a_manifests_status_is_ignored(jobs: Jobs):
    assert "status" not in jobs.made({**yaml(MINIMAL), "status": {"phase": "Complete"}})


def test_an_edit_of_the_spec_makes_a_new_generation_and_leaves_the_status_alone(jobs: Jobs, job: dict[str, Any]):
    before = jobs.patch_status("digits", {"status": {"phase": "Running"}}).body["status"]

    after = jobs.patch("digits", {**nested("workers.replicas", 3), "status": {"phase": "Failed", "attempt": 9}}).body

    assert after["spec"]["workers"]["replicas"] == 3
    assert after["status"] == before
    assert after["metadata"]["generation"] == 2


def test_an_edit_of_the_status_makes_no_new_generation_and_leaves_the_spec_alone(jobs: Jobs, job: dict[str, Any]):
    after = jobs.patch_status("digits", {**nested("workers.replicas", 3), "status": {"phase": "Running"}}).body

    assert after["status"] == {"phase": "Running"}
    assert after["spec"] == job["spec"]
    assert after["metadata"]["generation"] == 1


def test_an_edit_that_changes_nothing_makes_no_new_generation(jobs: Jobs, job: dict[str, Any]):
    after = jobs.patch("digits", {"spec": job["spec"], "metadata": {"labels": {"team": "vision"}}}).body

    assert after["metadata"]["generation"] == 1
    assert after["metadata"]["labels"] == {"team": "vision"}


def test_a_full_status_is_stored_as_it_was_written_and_read_back(jobs: Jobs, job: dict[str, Any]):
    answer = jobs.patch_status("digits", {"status": distinct(full()).to_object()})

    assert answer.ok, answer.message
    assert answer.warnings == ()
    assert Status.model_validate(jobs.get("digits")["status"]) == distinct(full())


def distinct(status: Status) -> Status:
    """The status with conditions of different types, since the API server keeps one of each."""
    kinds = (*sorted(CONDITIONS)[1:], "Another")
    return status.model_copy(
        update={"conditions": tuple(found.model_copy(update={"type": kind}) for found, kind in zip(status.conditions, kinds, strict=True))}
    )


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Hibernating"},
        {"restore": {"kind": "Branch"}},
        {"attempt": -1, "workers": [-5]},
        {"step": None, "loss": None, "checkpoint": None},
        {"ledger": {"a new row": 1.5}, "metrics": {"any name": -1}},
        {"conditions": [{"type": "New", "status": "Perhaps", "observedGeneration": -1}]},
    ],
    ids=json.dumps,
)
def test_values_of_a_newer_operator_are_taken(jobs: Jobs, job: dict[str, Any], status: dict[str, Any]):
    answer = jobs.patch_status("digits", {"status": status})

    assert answer.ok, answer.message
    assert answer.warnings == ()


def test_a_field_of_a_newer_operator_is_dropped_and_the_rest_is_taken(jobs: Jobs, job: dict[str, Any]):
    answer = jobs.patch_status("digits", {"status": {"phase": "Running", "novelty": {"a": 1}}})

    assert answer.body["status"] == {"phase": "Running"}


def test_a_condition_is_merged_by_its_type(jobs: Jobs, job: dict[str, Any]):
    twice = [Condition(type="Ready", status="True"), Condition(type="Ready", status="False")]
    conditions = [condition.model_dump(mode="json", by_alias=True, exclude_none=True) for condition in twice]

    assert "Duplicate value" in jobs.patch_status("digits", {"status": {"conditions": conditions}}).message


@pytest.mark.parametrize(
    ("resource", "spec", "status"), [("trainingjobs", True, False), ("trainingjobs/status", False, True)], ids=["user", "operator"]
)
def test_a_role_for_one_of_the_two_cannot_write_the_other(
    api_server: ApiServer, rest: Rest, namespace: str, job: dict[str, Any], resource: str, spec: bool, status: bool
):
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": ["batch.trainingjob.dev"], "resources": [resource], "verbs": ["patch"]}]
    assert rest("POST", f"{base}/roles", {"metadata": {"name": "r"}, "rules": rules}).ok
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}
    assert rest("POST", f"{base}/rolebindings", {"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]}).ok
    hers = Jobs(api_server.rest("alice"), namespace)

    assert hers.patch("digits", nested("workers.replicas", 3)).ok is spec
    assert hers.patch_status("digits", {"status": {"phase": "Running"}}).ok is status
