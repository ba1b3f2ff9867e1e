"""What the API server stores of a manifest is what the models read out of it, defaults and all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from integration.jobs import Jobs
from integration.kubectl import Kubectl
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from unit.api.manifests import VALID, Valid

EXAMPLES_FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(EXAMPLES_FOLDER.rglob("*.yaml"))


def canonical(spec: JobSpec) -> dict[str, Any]:
    """The spec as the workers get it."""
    found: dict[str, Any] = json.loads(spec.to_json())
    return found


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_kubectl_applies_an_example_with_a_storage_and_finds_nothing_to_change_the_second_time(
    jobs: Jobs, kubectl: Kubectl, namespace: str, path: Path, tmp_path: Path
):
    body = YAML(typ="safe").load(path.read_text())
    body["spec"].setdefault("checkpoint", {}).setdefault("storage", {"uri": "s3://my-bucket/jobs/example"})
    job = TrainingJob.from_object(body)
    name, file = job.metadata.name, tmp_path / "example.json"
    file.write_text(json.dumps(body))

    first = kubectl("apply", "-n", namespace, "-f", str(file))
    second = kubectl("apply", "-n", namespace, "-f", str(file))

    assert first == (0, f"trainingjob.batch.trainingjob.dev/{name} created\n", "")
    assert second == (0, f"trainingjob.batch.trainingjob.dev/{name} unchanged\n", "")
    assert jobs.get(name)["spec"] == canonical(job.spec)
    assert jobs.get(name)["metadata"]["generation"] == 1


def test_kubectl_refuses_an_example_of_one_machine_and_names_the_storage(kubectl: Kubectl, namespace: str):
    code, _, said = kubectl("apply", "-n", namespace, "-f", str(EXAMPLES_FOLDER / "digits.yaml"))

    assert code == 1
    assert "spec.checkpoint.storage: Required value" in said


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.id)
def test_a_valid_manifest_is_stored_as_the_models_read_it(jobs: Jobs, case: Valid):
    answer = jobs.create(case.body(), fieldValidation="Strict")

    assert answer.ok, answer.message
    assert answer.warnings == ()
    read = TrainingJob.from_object(case.body()).spec
    assert answer.body["spec"] == canonical(read)
    assert TrainingJob.from_object(answer.body).spec == read


def test_what_was_left_out_and_what_is_written_as_its_default_are_stored_alike(jobs: Jobs):
    body = VALID[0].body()
    stored = jobs.made(body)
    written = {**body, "metadata": {"name": "written"}, "spec": stored["spec"]}

    assert jobs.made(written)["spec"] == stored["spec"]


def test_a_whole_number_is_stored_without_its_fraction(jobs: Jobs):
    """So a parameter of 2.0 reaches a Task as 2 in a cluster, and as 2.0 on a laptop."""
    body = VALID[0].body()
    body["spec"]["training"]["task"]["parameters"] = {"rate": 2.0}

    found = jobs.made(body)["spec"]["training"]["task"]["parameters"]["rate"]

    assert json.dumps(found) == "2"


@pytest.mark.parametrize("field", ["suspend", "podRetention", "workers", "managedBy"])
def test_an_empty_field_gets_its_default(jobs: Jobs, field: str):
    body = VALID[0].body()
    body["spec"][field] = None

    assert jobs.made(body)["spec"] == canonical(TrainingJob.from_object(VALID[0].body()).spec)
