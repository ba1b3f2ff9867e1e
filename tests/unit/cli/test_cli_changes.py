import json
from typing import Any

import pytest

from trainingjob_api.spec.job import JobSpec
from trainingjob_cli.changes import ChangeRefusedError, updated, with_options


def make_spec(**changes: Any) -> dict[str, Any]:
    spec = {
        "workers": {"replicas": 3, "minReplicas": 2},
        "training": {
            "task": {"class": "a:B"},
            "optimizer": {"name": "AdamW", "learningRate": 0.001},
            "globalBatchSize": 8,
            "epochs": 1,
        },
        "checkpoint": {"storage": {"uri": "file:///a"}},
        **changes,
    }
    made: dict[str, Any] = json.loads(JobSpec.model_validate(spec).to_json())
    return made


def test_the_number_of_workers_may_change() -> None:
    wanted = make_spec(workers={"replicas": 5, "minReplicas": 1})
    assert updated(make_spec(), wanted, "digits") == wanted


def test_what_is_stored_depends_on_may_not_change_and_is_named() -> None:
    wanted = make_spec(checkpoint={"storage": {"uri": "file:///b"}})
    with pytest.raises(ChangeRefusedError, match=r"spec.checkpoint.storage.uri.*\n.*trainingjob delete digits"):
        updated(make_spec(), wanted, "digits")


def test_a_manifest_without_a_rollback_does_not_take_one_back() -> None:
    asked = {"toStep": 4, "request": "r"}
    assert updated(make_spec(rollback=asked), make_spec(), "digits")["rollback"] == asked


def test_a_manifest_without_suspend_resumes() -> None:
    assert not updated(make_spec(suspend=True), make_spec(), "digits").get("suspend")


@pytest.mark.parametrize(("workers", "minimum", "notes"), [(5, 2, 0), (2, 2, 0), (1, 1, 1)], ids=["more", "the minimum", "fewer"])
def test_fewer_workers_than_the_minimum_lower_it_with_a_note(workers: int, minimum: int, notes: int) -> None:
    spec, said = with_options(make_spec(), workers, None)
    assert (spec["workers"]["replicas"], spec["workers"]["minReplicas"], len(said)) == (workers, minimum, notes)


def test_a_storage_option_replaces_the_uri_alone() -> None:
    spec, _ = with_options(make_spec(), None, "file:///b")
    assert spec["checkpoint"]["storage"]["uri"] == "file:///b"
    assert spec["checkpoint"]["keep"] == make_spec()["checkpoint"]["keep"]
