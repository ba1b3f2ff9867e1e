"""A worker reads its configuration whatever the versions of its image and of the operator are. Held for both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError, create_model

from operator_builders import make_job
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.spec.recovery import Recovery, Rule
from trainingjob_operator.controllers.training_job.children import pinned
from trainingjob_operator.controllers.training_job.children.pinned import configuration, told
from unit.api.manifests import VALID, Valid
from unit.contract import golden
from unit.contract.spec import NEEDED, broken, fields

NEWER_RULE = create_model("Rule", __base__=Rule, patience=(int, 3))
NEWER_RECOVERY = create_model("Recovery", __base__=Recovery, rules=(tuple[NEWER_RULE, ...], ()), mirrors=(int, 1))
NEWER = create_model("JobSpec", __base__=JobSpec, recovery=(NEWER_RECOVERY, NEWER_RECOVERY()), region=(str, "nowhere"))
NEWER_JOB = create_model("TrainingJob", __base__=TrainingJob, spec=(NEWER, ...))
"""The API of a later version: a field more in the spec, in an object of it, and in the items of a list."""
RULE = {"exitCodes": [42], "action": "Fail"}


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is of that later version."""
    monkeypatch.setattr(pinned, "JobSpec", NEWER)


def sent(**spec: Any) -> str:
    job = NEWER_JOB.model_validate(make_job().model_dump(by_alias=True, exclude_none=True) | {"spec": {**fields_of_a_job(), **spec}})
    return told(job, configuration(job))


def fields_of_a_job() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make_job().spec.to_json())
    return found


@pytest.mark.usefixtures("newer")
def test_an_older_agent_reads_what_a_newer_operator_sends_if_the_job_uses_nothing_newer() -> None:
    recovery = {"mirrors": 1, "maxFailures": 9, "rules": [{**RULE, "patience": 3}]}
    read = JobSpec.model_validate_json(sent(region="nowhere", recovery=recovery))
    assert read == JobSpec.model_validate(fields_of_a_job() | {"recovery": {"maxFailures": 9, "rules": [RULE]}})


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"region": "west"}, "region"),
        ({"recovery": {"mirrors": 2}}, "recovery.mirrors"),
        ({"recovery": {"rules": [{**RULE, "patience": 4}]}}, "recovery.rules.0.patience"),
    ],
)
def test_an_older_agent_refuses_a_newer_field_that_the_job_uses_and_names_it(spec: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate_json(sent(**spec))
    assert [".".join(map(str, each["loc"])) for each in refused.value.errors()] == [name]


def test_a_newer_agent_takes_the_defaults_of_what_an_older_operator_does_not_know() -> None:
    job = make_job(recovery={"maxFailures": 9, "rules": [RULE]})
    read = NEWER.model_validate_json(told(job, configuration(job)))
    assert read == NEWER.model_validate(fields_of_a_job() | {"recovery": {"maxFailures": 9, "rules": [RULE]}})


def test_an_operator_that_is_older_than_a_life_sends_its_configuration_on() -> None:
    config = configuration(make_job()) | {"region": "west"}
    config["recovery"] |= {"mirrors": 2}
    assert NEWER.model_validate_json(told(make_job(), json.loads(json.dumps(config)))) == NEWER.model_validate(config)


def test_a_kept_configuration_whose_values_are_refused_by_now_is_sent_as_it_is() -> None:
    config = configuration(make_job())
    config["training"]["reduction"] = "Later"
    assert json.loads(told(make_job(), json.loads(json.dumps(config)))) == config


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.id)
def test_what_is_left_out_is_what_the_reader_puts_back(case: Valid) -> None:
    job = make_job().model_copy(update={"spec": JobSpec.model_validate(case.body()["spec"])})
    config = configuration(job)
    read = JobSpec.model_validate_json(told(job, configuration(job)))
    assert read == JobSpec.model_validate(config)


def test_defaults_stay_and_new_fields_have_one() -> None:
    """Nothing is sent of a field that has its default: both sides must have the same one. For a field more, run unit.contract.golden."""
    assert golden.kept_spec() == fields()


BEFORE = {"a": NEEDED, "b": {"default": 1}, "c": {"default": {}}, "c.d": {"default": 2}}
BREAKS = {
    "another default": ({"b": {"default": 2}}, ["spec.b: its default was {'default': 1}, and is {'default': 2}"]),
    "a default where there was none": ({"a": {"default": 1}}, ["spec.a: its default was needed, and is {'default': 1}"]),
    "a new field that is needed": ({"c.e": NEEDED}, ["spec.c.e: is new, and has no default"]),
    "a new field with a default": ({"c.e": {"default": 0}}, []),
    "a new object, which needs a field": ({"e": {"default": None}, "e.f": NEEDED}, []),
}


@pytest.mark.parametrize(("change", "expected"), BREAKS.values(), ids=BREAKS.keys())
def test_a_change_of_the_spec_that_another_version_would_misread_is_refused(change: dict[str, Any], expected: list[str]) -> None:
    assert broken(BEFORE, BEFORE | change) == expected


def test_a_field_that_is_taken_away_is_refused() -> None:
    assert broken(BEFORE, {name: value for name, value in BEFORE.items() if name != "b"}) == ["spec.b: is gone"]


def test_a_change_of_a_default_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    golden.write()
    monkeypatch.setattr(golden, "fields", lambda: fields() | {"training.seed": {"default": 1}})
    with pytest.raises(SystemExit, match=r"spec\.training\.seed: its default was"):
        golden.write()
    assert golden.kept_spec() == fields()
