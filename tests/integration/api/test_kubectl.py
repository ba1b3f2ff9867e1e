"""What a user sees of TrainingJobs with kubectl alone."""

from __future__ import annotations

from typing import Any

import pytest

from integration.jobs import Jobs
from integration.kubectl import Kubectl
from trainingjob_api.crd.definition import schema
from unit.api.manifests import MINIMAL, Valid, yaml

STATUS = {
    "phase": "Running",
    "display": {"workers": "4/4", "step": "1240/5000", "progress": "24%"},
    "loss": 0.0831,
    "checkpoint": 1200,
    "restarts": 1,
    "goodput": "98%",
}
HEADER = ["NAME", "PHASE", "WORKERS", "STEP", "PROGRESS", "LOSS", "CHECKPOINT", "RESTARTS", "GOODPUT", "AGE"]


def at(path: str) -> dict[str, Any]:
    """The schema of a field."""
    found: dict[str, Any] = schema()
    for name in path.split("."):
        found = found["properties"][name]
    return found


def words(text: str) -> str:
    """A text without its line breaks, which kubectl sets as it likes."""
    return " ".join(text.split())


@pytest.mark.parametrize("path", ["spec", "spec.checkpoint", "spec.workers", "spec.rollback", "spec.training.optimizer", "status"])
def test_explain_says_what_an_object_is_and_what_each_of_its_fields_is(definition: dict[str, Any], kubectl: Kubectl, path: str):
    ended = kubectl("explain", f"trainingjob.{path}")

    assert ended.code == 0, ended.stderr
    told, meant = words(ended.stdout), at(path)
    assert f"DESCRIPTION: {meant['description']} FIELDS: " in told
    for name, field in meant["properties"].items():
        needed = " -required-" if name in meant.get("required", ()) else ""
        values = f" enum: {', '.join(field['enum'][:4])}" if "enum" in field else ""
        assert any(f"{name} <{kind}>{needed}{values}" in told for kind in kinds(field)), name
        assert field["description"] in told


def kinds(field: dict[str, Any]) -> list[str]:
    """How explain may write a field's type."""
    plain = {"object": "Object"}.get(field["type"], field["type"])
    inner = field.get("items", field.get("additionalProperties", {}))
    of = {"object": "Object"}.get(inner.get("type", ""), inner.get("type", ""))
    return [plain, f"[]{of}", f"map[string]{of}"]


def test_explain_names_the_values_that_a_field_may_have(definition: dict[str, Any], kubectl: Kubectl):
    ended = kubectl("explain", "tj.spec.training.optimizer.name")

    assert "ENUM: SGD Momentum Adagrad RMSprop Adam AdamW" in words(ended.stdout)


@pytest.mark.parametrize(
    "name", ["trainingjobs", "trainingjob", "tj", "trainingjobs.batch.trainingjob.dev", "tj.v1alpha1.batch.trainingjob.dev"]
)
def test_get_shows_the_columns_of_a_running_job(jobs: Jobs, kubectl: Kubectl, namespace: str, name: str):
    jobs.made(yaml(MINIMAL))
    assert jobs.patch_status("digits", {"status": STATUS}).ok

    header, line = kubectl("get", name, "-n", namespace).stdout.splitlines()

    assert header.split() == HEADER
    *columns, age = line.split()
    assert columns == ["digits", "Running", "4/4", "1240/5000", "24%", "0.0831", "1200", "1", "98%"]
    assert age.endswith("s")


def test_get_shows_a_job_that_nobody_has_looked_at_yet(jobs: Jobs, kubectl: Kubectl, namespace: str):
    jobs.made(yaml(MINIMAL))

    header, line = kubectl("get", "trainingjobs", "-n", namespace).stdout.splitlines()

    assert header.split() == HEADER
    assert line.split()[0] == "digits"
    assert len(line.split()) == 2


def test_get_all_shows_jobs_too(jobs: Jobs, kubectl: Kubectl, namespace: str):
    jobs.made(yaml(MINIMAL))

    assert "trainingjob.batch.trainingjob.dev/digits" in kubectl("get", "all", "-n", namespace).stdout


def test_describe_shows_the_steps_that_a_rollback_can_go_to(jobs: Jobs, kubectl: Kubectl, namespace: str):
    jobs.made(yaml(MINIMAL))
    assert jobs.patch_status("digits", {"status": {"checkpoints": [1000, 1100, 1200]}}).ok

    assert "Checkpoints: 1000 1100 1200" in words(kubectl("describe", "tj", "digits", "-n", namespace).stdout)


def workers(fields: str) -> dict[str, Any]:
    """A job with these workers."""
    return Valid("workers", f"{{spec: {{workers: {fields}}}}}").body()


def test_scale_changes_the_number_of_workers(jobs: Jobs, kubectl: Kubectl, namespace: str):
    jobs.made(workers("{replicas: 2, maxReplicas: 4}"))

    ended = kubectl("scale", "trainingjob/digits", "--replicas=4", "--current-replicas=2", "-n", namespace)

    assert ended.code == 0, ended.stderr
    assert jobs.get("digits")["spec"]["workers"]["replicas"] == 4


@pytest.mark.parametrize(
    ("replicas", "refusal"),
    [(5, "spec.workers.maxReplicas"), (1, "spec.workers.minReplicas"), (0, "spec.workers.replicas")],
)
def test_scale_is_bound_by_the_rules_of_the_spec(jobs: Jobs, kubectl: Kubectl, namespace: str, replicas: int, refusal: str):
    jobs.made(workers("{replicas: 2, minReplicas: 2, maxReplicas: 4}"))

    ended = kubectl("scale", "tj", "digits", f"--replicas={replicas}", "-n", namespace)

    assert ended.code != 0
    assert refusal in ended.stderr
    assert jobs.get("digits")["spec"]["workers"]["replicas"] == 2
