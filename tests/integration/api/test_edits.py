"""Which edits of a job the API server lets through: the mutability table, line by line, and the words it refuses others with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from integration.api.edits import SAMPLES, manifest, nested, overlay
from integration.jobs import Jobs
from integration.rest import Answer
from trainingjob_api.crd import mutability
from trainingjob_api.crd.mutability import TABLE, Mutability
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from unit.api.manifests import CHANGES, MINIMAL, Change, yaml

WORDS = {
    Mutability.WHILE_SUSPENDED: "can be changed only while suspend is true; suspend the job first",
    Mutability.AT_REST: "can be changed only while suspend is true or when the job is complete; suspend the job first",
    Mutability.NEVER: "cannot be changed; make a new job",
}


def read(body: dict[str, Any]) -> JobSpec | None:
    """The spec; None where it cannot work."""
    try:
        return TrainingJob.from_object(body).spec
    except ValidationError:
        return None


def refusals(answer: Answer) -> list[str]:
    """Each field, and why it may not be changed."""
    return sorted(f"{field} {why.removeprefix('Forbidden: ')}" for field, found in answer.causes.items() for why in found)


def may_change(path: str, *, suspended: bool) -> bool:
    return TABLE[path] is Mutability.ALWAYS or (TABLE[path] is not Mutability.NEVER and suspended)


def assert_edited(jobs: Jobs, path: str, body: dict[str, Any], value: Any) -> None:
    """Edit the field `path` of a job made from `body`, and see that it goes as the table says."""
    made = jobs.made({**body, "metadata": {"generateName": "digits-"}})
    name = made["metadata"]["name"]
    wanted = overlay(made, nested(path, value))
    before, after = read(made), read(wanted)
    assert before is not None

    answer = jobs.patch(name, nested(path, value))

    if after is None:  # no such job can be: it is needed, or needs others
        assert answer.code == 422
    elif after == before or may_change(path, suspended=before.suspend):
        assert answer.ok, answer.message
        assert read(answer.body) == after
    else:
        assert answer.code == 422
        told = refusals(answer)
        assert f"spec.{path} {WORDS[TABLE[path]]}" in told
        assert told == sorted(mutability.refused(before, after))
    if not answer.ok:
        assert jobs.get(name) == made


def test_every_line_of_the_table_has_a_sample():
    assert SAMPLES.keys() | {"suspend"} == TABLE.keys()


@pytest.mark.parametrize("suspended", [False, True], ids=["running", "suspended"])
@pytest.mark.parametrize("path", SAMPLES)
def test_a_field_is_changed_taken_away_and_added_as_the_table_says(jobs: Jobs, path: str, suspended: bool):
    sample = SAMPLES[path]
    given = manifest(path, suspended=suspended, given=True)
    missing = manifest(path, suspended=suspended, given=False)

    if sample.other is not None:
        assert_edited(jobs, path, given, sample.other)
    assert_edited(jobs, path, given, None)
    if read(missing) is not None:
        assert_edited(jobs, path, missing, sample.value)


PINNED = [path for path, sample in SAMPLES.items() if TABLE[path] is not Mutability.ALWAYS and sample.other is not None]


@pytest.mark.parametrize("path", PINNED)
def test_a_field_that_must_not_change_cannot_be_taken_away_and_added_again(jobs: Jobs, path: str):
    """What a rule on the field itself would let through."""
    made = jobs.made(manifest(path, suspended=False, given=True))
    name = made["metadata"]["name"]

    jobs.patch(name, nested(path, None))
    jobs.patch(name, nested(path, SAMPLES[path].other))

    assert jobs.get(name)["spec"] == made["spec"]


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.id)
def test_a_change_of_the_unit_tests_table_is_accepted_or_refused_in_its_words(jobs: Jobs, case: Change):
    old, new = case.bodies()
    made = jobs.made(old)
    new["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]

    answer = jobs.replace(new)

    if case.refused is None:
        assert answer.ok, answer.message
    else:
        assert answer.code == 422
        assert [told for told in refusals(answer) if not told.startswith(case.refused)] == []


def test_a_job_is_suspended_and_goes_on_in_every_way_of_writing_it(jobs: Jobs):
    jobs.made(yaml(MINIMAL))

    for written, stored in ((True, True), (None, False), (True, True), (False, False)):
        answer = jobs.patch("digits", nested("suspend", written))
        assert answer.ok, answer.message
        assert answer.body["spec"]["suspend"] is stored


def test_a_job_is_changed_while_suspended_and_pinned_again_when_it_goes_on(jobs: Jobs):
    jobs.made(yaml(MINIMAL))
    rate = nested("training.optimizer", {"learningRate": 0.01})

    assert not jobs.patch("digits", overlay(rate, nested("suspend", True))).ok, "it was running when this came"
    assert jobs.patch("digits", nested("suspend", True)).ok
    assert jobs.patch("digits", overlay(rate, nested("suspend", False))).ok
    assert not jobs.patch("digits", nested("training.optimizer", {"learningRate": 0.02})).ok
    assert jobs.get("digits")["spec"]["training"]["optimizer"]["learningRate"] == 0.01


def test_the_length_of_a_job_is_changed_when_it_is_complete(jobs: Jobs):
    jobs.made(yaml(MINIMAL))
    longer = nested("training.epochs", 30)

    assert jobs.patch_status("digits", {"status": {"phase": "Running"}}).ok
    assert refusals(jobs.patch("digits", longer)) == [f"spec.training.epochs {WORDS[Mutability.AT_REST]}"]
    assert jobs.patch_status("digits", {"status": {"phase": "Succeeded"}}).ok
    assert not jobs.patch("digits", nested("training.seed", 8)).ok
    assert jobs.patch("digits", longer).ok
    assert jobs.get("digits")["spec"]["training"]["epochs"] == 30


def test_all_refused_fields_of_an_edit_are_told_at_once(jobs: Jobs):
    jobs.made(yaml(MINIMAL))
    edit = overlay(overlay(nested("training.seed", 8), nested("image", "a")), nested("workers.replicas", 3))

    assert refusals(jobs.patch("digits", edit)) == [
        "spec.image can be changed only while suspend is true; suspend the job first",
        "spec.training.seed cannot be changed; make a new job",
    ]
