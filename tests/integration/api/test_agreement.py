"""The API server and the models agree on every field: each is given, one at a time, every strange value of a list.

What the models take, the API server takes. What the API server takes and stores, the models read, but for the few things
that no schema can say; for those the operator sets a condition.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from pydantic import ValidationError

from integration.api.places import PLACES, Path, every_field
from integration.jobs import Jobs
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec

STRANGE = (None, -1, 1.5, 2.0, 10**12, "", "x", "A b\n", "x" * 40_000, True, [], {}, {"a b": "1"}, {"x": None})
LEFT_TO_THE_OPERATOR = {
    r"training\.task\.parameters(\..*|\[\])?": "what kinds of value, how long, and in which maps: a schema of any value says nothing",
    r"workers\.template\.volumes(\[\]\.name)?|workers\.template\.volumeMounts\[\]\.name": "which volume a mount names",
    r".*\.(labels|annotations|nodeSelector|matchLabels|podLabels|limits|requests)": "the form of a map's keys",
}
"""Fields in which the API server stores what the models refuse, and what of them it does not see."""


def with_value(body: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The manifest with another value at `path` of its spec."""
    changed = copy.deepcopy(body)
    place: Any = changed["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return changed


def read(model: Any, body: dict[str, Any]) -> Any:
    """What the models read; None where they refuse it."""
    try:
        return model.model_validate(body)
    except ValidationError:
        return None


def disagreement(jobs: Jobs, body: dict[str, Any]) -> str | None:
    """How API server and models differ on a manifest."""
    answer = jobs.create(body, dryRun="All", fieldValidation="Strict")
    mine = read(TrainingJob, body)
    if not answer.ok:
        return f"refused: {answer.message}" if mine is not None else None
    stored = read(JobSpec, answer.body["spec"])
    if stored is None:
        return "stored, but cannot be read"
    return "stored otherwise" if mine is not None and mine.spec != stored else None


def left_to_the_operator(name: str) -> bool:
    return any(re.fullmatch(known, name) for known in LEFT_TO_THE_OPERATOR)


def test_every_field_of_the_schema_is_looked_at():
    assert sorted(every_field() - PLACES.keys()) == []


@pytest.mark.parametrize("part", sorted({place.part for place in PLACES.values()}))
def test_api_server_and_models_agree(jobs: Jobs, part: str):
    found: dict[str, list[str]] = {}
    places = [place for place in PLACES.values() if place.part == part]
    for place in places:
        for value in STRANGE:
            if told := disagreement(jobs, with_value(place.body, place.path, value)):
                found.setdefault(place.name, []).append(f"{value!r:.40}: {told}")

    assert found.keys() == {place.name for place in places if left_to_the_operator(place.name)}, found
    assert [told for lines in found.values() for told in lines if not told.endswith("stored, but cannot be read")] == []
