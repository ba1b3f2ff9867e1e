"""The unit tests' table of invalid manifests, against the API server: what it refuses, and what it leaves to the operator."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from integration.jobs import Jobs
from integration.kubectl import Kubectl
from unit.api.manifests import INVALID, MINIMAL, Invalid, dump


def numbers(value: Any) -> list[float]:
    """Every fraction in a manifest."""
    if isinstance(value, dict | list):
        return [found for inner in (value.values() if isinstance(value, dict) else value) for found in numbers(inner)]
    return [value] if isinstance(value, float) else []


UNKNOWN = {
    "unknown-field",
    "unknown-top-level-field",
    "unknown-field-like-no-other",
    "unknown-field-in-a-list",
    "host-path",
    "privileged",
    "host-network",
}
"""Fields that the schema does not have: refused for a client that asks for it, as kubectl does, and dropped for others."""
NO_JSON = {case.id for case in INVALID if not all(math.isfinite(number) for number in numbers(case.body()))}
"""What no client can put into JSON, so that it never comes to the API server."""
TOLD_ELSEWHERE = {
    "name-too-long": "<nil>",
    "name-begins-with-a-digit": "<nil>",
    "name-with-a-dot": "<nil>",
    "script-with-epochs": "spec.training",
    "script-with-divergence": "spec.divergence",
}
"""Where the API server puts its finger, for mistakes that a rule of an outer object finds; its words name the field itself."""

REFUSED = [case for case in INVALID if case.server and case.id not in UNKNOWN]
STRICT = [case for case in INVALID if case.id in UNKNOWN]
TAKEN = [case for case in INVALID if not case.server and case.id not in NO_JSON]


def _ids(case: Invalid) -> str:
    return case.id


def test_every_manifest_of_the_table_is_in_one_of_the_groups():
    assert len(REFUSED) + len(STRICT) + len(TAKEN) + len(NO_JSON) == len(INVALID)
    assert [case.id for case in INVALID if case.id in NO_JSON and case.server] == []
    assert {case.id for case in STRICT} == UNKNOWN


@pytest.mark.parametrize("case", REFUSED, ids=_ids)
def test_it_is_refused_and_the_field_is_named(jobs: Jobs, case: Invalid):
    answer = jobs.create(case.body())

    assert answer.code == 422
    place = TOLD_ELSEWHERE.get(case.id, case.field)
    assert place in answer.causes
    assert place == case.field or case.field.rpartition(".")[2] in " ".join(answer.causes[place])


@pytest.mark.parametrize("case", STRICT, ids=_ids)
def test_an_unknown_field_is_refused_by_name_where_the_client_asks_for_it(jobs: Jobs, case: Invalid):
    answer = jobs.create(case.body(), fieldValidation="Strict")

    assert answer.code == 400
    assert f'unknown field "{case.field}"' in answer.message


@pytest.mark.parametrize("case", STRICT, ids=_ids)
def test_an_unknown_field_is_dropped_with_a_warning_otherwise(jobs: Jobs, case: Invalid):
    answer = jobs.create(case.body())

    assert any(json.dumps(f'unknown field "{case.field}"') in warning for warning in answer.warnings)
    if case.id == "host-path":  # what is left of the volume is no volume
        assert "exactly one of emptyDir, configMap, secret and persistentVolumeClaim is needed" in answer.message
    else:
        assert answer.code == 201
        assert case.field.rpartition(".")[2] not in json.dumps([answer.body["spec"], list(answer.body)])


@pytest.mark.parametrize("case", TAKEN, ids=_ids)
def test_what_the_api_server_does_not_see_it_takes_and_leaves_to_the_operator(jobs: Jobs, case: Invalid):
    answer = jobs.create(case.body(), fieldValidation="Strict")

    assert (answer.code, answer.warnings) == (201, ())


@pytest.mark.parametrize("name", ["replicas-zero", "min-above-replicas", "bad-uri", "name-in-capitals"])
def test_kubectl_says_what_is_wrong_and_where(kubectl: Kubectl, namespace: str, name: str):
    (case,) = (case for case in INVALID if case.id == name)

    ended = kubectl("create", "--validate=false", "-n", namespace, "-f", "-", stdin=dump(case.body()))

    assert ended.code == 1
    assert ended.stdout == ""
    assert f'The TrainingJob "{case.body()["metadata"]["name"]}" is invalid:' in ended.stderr
    assert f"{case.field}: Invalid value: " in ended.stderr


def test_kubectl_refuses_a_misspelt_field_by_itself(kubectl: Kubectl, namespace: str):
    ended = kubectl("create", "-n", namespace, "-f", "-", stdin=MINIMAL.replace("epochs: 3", "epohcs: 3"))

    assert ended.code == 1
    assert 'unknown field "spec.training.epohcs"' in ended.stderr


@pytest.mark.parametrize("name", sorted(NO_JSON))
def test_kubectl_cannot_send_a_number_that_is_not_finite(kubectl: Kubectl, namespace: str, name: str):
    (case,) = (case for case in INVALID if case.id == name)

    ended = kubectl("create", "--validate=false", "-n", namespace, "-f", "-", stdin=f"---\n{dump(case.body())}")

    assert ended.code == 1
    assert "unsupported value" in ended.stderr
