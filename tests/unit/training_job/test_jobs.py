"""TrainingJobs as they are known: what cannot be read is told, what is old or late changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import UID, make_spec
from trainingjob_operator.controllers.training_job.cluster.known import KnownJob, read
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS, job_key
from trainingjob_operator.engine.objects import Objects
from trainingjob_operator.engine.values import ResourceKey
from unit.api.cases import Invalid
from unit.api.refused import INVALID

KEY = job_key("team", "digits")
UNSEEN = [case for case in INVALID if not case.server]


def manifest(version: int = 5, uid: str = UID, **fields: Any) -> dict[str, Any]:
    metadata = {"name": "digits", "namespace": "team", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return {"apiVersion": "batch.trainingjob.dev/v1alpha1", "kind": "TrainingJob", "metadata": metadata, "spec": make_spec()} | fields


@pytest.fixture
def changed() -> list[ResourceKey]:
    return []


@pytest.fixture
def jobs(changed: list[ResourceKey]) -> Objects[KnownJob]:
    return Objects(TRAINING_JOBS, read, changed.append)


def test_a_job_is_read() -> None:
    found = read(manifest(status={"phase": "Running", "attempt": 2}))
    assert (found.key, found.version, found.problem) == (KEY, 5, "")
    assert found.job.status.attempt == 2


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.id)
def test_what_the_api_server_cannot_refuse_names_the_field(case: Invalid) -> None:
    metadata = {"namespace": "team", "uid": UID, "resourceVersion": "5"}
    body = case.body()
    found = read(body | {"metadata": body["metadata"] | metadata, "status": {"attempt": 3}})
    assert case.field in found.problem
    assert case.message in found.problem
    assert (found.job.metadata.name, found.job.status.attempt) == ("digits", 3)


def test_a_name_that_no_child_could_have_is_told() -> None:
    body = manifest()
    body["metadata"]["name"] = "1st"
    found = read(body)
    assert "put a letter before it" in found.problem
    assert found.key == job_key("team", "1st")


def test_a_spec_of_nonsense_is_told() -> None:
    assert "spec" in read(manifest(spec={})).problem
    assert "spec" in read(manifest(spec={"workers": 4})).problem


def test_news_are_told_once(jobs: Objects[KnownJob], changed: list[ResourceKey]) -> None:
    jobs.put(manifest(5))
    jobs.put(manifest(5))
    jobs.put(manifest(4))
    assert changed == [KEY]
    jobs.put(manifest(6))
    assert changed == [KEY, KEY]


def test_only_the_one_that_is_meant_is_dropped(jobs: Objects[KnownJob]) -> None:
    jobs.put(manifest(5, uid="new"))
    jobs.drop(KEY, "old")
    assert jobs.get(KEY) is not None
    jobs.drop(KEY, "new")
    jobs.drop(KEY)
    assert jobs.get(KEY) is None
    assert jobs.all() == []


def test_an_answer_after_the_news_of_the_deletion_does_not_raise_the_dead(jobs: Objects[KnownJob], changed: list[ResourceKey]) -> None:
    jobs.put(manifest(5))
    jobs.drop(KEY, UID)
    jobs.renew(manifest(6))
    assert jobs.get(KEY) is None
    assert changed == [KEY, KEY]


def test_an_answer_about_the_former_job_does_not_replace_the_new_one(jobs: Objects[KnownJob]) -> None:
    jobs.put(manifest(9, uid="new"))
    jobs.renew(manifest(6))
    found = jobs.get(KEY)
    assert found is not None
    assert found.job.metadata.uid == "new"
    jobs.renew(manifest(10, uid="newest"))
    found = jobs.get(KEY)
    assert found is not None
    assert found.job.metadata.uid == "newest"
