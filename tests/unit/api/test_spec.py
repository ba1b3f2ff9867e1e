"""What the models of the spec say beyond accepting and refusing."""

import pytest
from pydantic import ValidationError

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Checkpoint, Storage
from trainingjob_api.spec.errors import closest, explain
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.spec.template import PodTemplate
from trainingjob_api.spec.training import Task, Training
from trainingjob_api.spec.workers import Workers
from unit.api.manifests import TEMPLATE, yaml

STORAGE = Storage(uri="s3://bucket/job")


def make_spec(**fields) -> JobSpec:
    return JobSpec(**({"training": Training(task=Task(class_name="a:B"), epochs=1), "checkpoint": Checkpoint(storage=STORAGE)} | fields))


def test_min_replicas_is_replicas_where_it_is_absent():
    assert Workers(replicas=4).minimum == 4
    assert Workers(replicas=4, min_replicas=2).minimum == 2


def test_the_world_is_all_processes_of_all_workers():
    assert Workers(replicas=3, processes_per_worker=2).world == 6


def test_checkpoints_are_every_100_steps_where_no_interval_is_given():
    assert Checkpoint(storage=STORAGE).step_interval == 100
    assert Checkpoint(storage=STORAGE, every_steps=7).step_interval == 7
    assert Checkpoint(storage=STORAGE, every_seconds=7).step_interval is None


def test_lanes_are_the_world_where_they_are_absent():
    training = Training(task=Task(class_name="a:B"), epochs=1, reduction="Deterministic", lanes=8)

    assert make_spec(workers=Workers(replicas=3, processes_per_worker=2)).lanes == 6
    assert make_spec(training=training).lanes == 8


def test_absent_fields_stay_absent_in_the_workers_configuration():
    assert "minReplicas" not in make_spec().to_json()
    assert "null" not in make_spec().to_json()


def test_a_spec_cannot_be_changed_once_read():
    with pytest.raises(ValidationError):
        make_spec().suspend = True  # type: ignore[misc]


def test_a_template_goes_whole_into_the_pod_and_its_container():
    fields = yaml(TEMPLATE)["spec"]["workers"]["template"]
    template = PodTemplate.model_validate(fields)

    both = template.pod() | template.container() | {"metadata": fields["metadata"]}

    assert set(both) == set(fields)
    assert template.container()["resources"] == fields["resources"]
    assert template.pod()["affinity"] == fields["affinity"]
    assert template.pod()["volumes"] == fields["volumes"]


def test_a_templates_security_context_is_split_over_pod_and_container():
    template = PodTemplate.model_validate({"securityContext": {"runAsUser": 7, "readOnlyRootFilesystem": True}})

    assert template.pod()["securityContext"] == {"runAsUser": 7}
    assert template.container()["securityContext"] == {"readOnlyRootFilesystem": True}


def test_an_empty_template_adds_nothing():
    assert PodTemplate().pod() == {}
    assert PodTemplate().container() == {}


def test_an_object_of_the_api_server_is_read_whatever_its_metadata_holds():
    body = {
        "metadata": {
            "name": "digits",
            "namespace": "team",
            "uid": "u",
            "generation": 3,
            "creationTimestamp": "2026-11-22T10:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}" * 9000},
        },
        "spec": yaml(make_spec().to_json()),
        "status": {"phase": "Running"},
    }

    job = TrainingJob.from_object(body)

    assert (job.metadata.namespace, job.metadata.generation, job.status.phase) == ("team", 3, "Running")
    assert job.spec == make_spec()


def test_a_spec_alone_is_explained_below_its_root():
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate({"workers": {"replcias": 3}, "training": {"steps": 1, "task": {"class": "a:B"}}})

    assert explain(caught.value, JobSpec, "spec") == [
        "spec.workers.replcias: there is no such field; did you mean replicas?",
        "spec.checkpoint: is needed; add it",
    ]


def test_a_guess_is_made_only_where_the_word_is_near():
    assert closest("minreplicas", ["replicas", "minReplicas"]) == "minReplicas"
    assert closest("zzz", ["replicas", "minReplicas"]) is None
