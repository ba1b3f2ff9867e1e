"""Whatever a rendezvous reports and a pod leaves behind: the operator refuses it, or writes a status that is valid. It never raises."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import each_spoiled, json_values, spoiled
from operator_builders import (
    NOW,
    SETTINGS,
    make_failure,
    make_job,
    make_log,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.contract.intent import INTENT, Report
from trainingjob_api.crd.definition import definition
from trainingjob_api.status import MAX_STATUS_BYTES, Status, StopRecord
from trainingjob_operator.controllers.training_job import pods
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase
from trainingjob_operator.controllers.training_job.streams.stream import parse_report

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TRUE = make_report(
    failures=(make_failure("Crash", message="x", step=3, exit_code=1), make_failure("UserError", 1)),
    failure_count=2,
    metrics={"accuracy": 0.5},
    log=make_log(exported="s3://bucket/export", quarantined=(50,), result={"accuracy": 0.9}, restored_step=100, request="again"),
    saved_request="now",
    stopped="suspend-1",
    stopped_at_step=240,
)
STATES: dict[str, Any] = {
    "running": (make_status(), {}),
    "new": (None, {}),
    "suspending": (make_status(stop=StopRecord(request="suspend-1", time=NOW)), {"suspend": True}),
    "rolling back": (make_status(attempt=2, restore={"kind": "Step", "step": 100, "request": "again"}), {}),
    "asked for a rollback": (make_status(checkpoint=200, checkpoints=(100, 200)), {"rollback": {"toStep": 100, "request": "again"}}),
    "limited": (make_status(), {"activeDeadlineSeconds": 900}),
}
SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def fits(schema: dict[str, Any], value: Any, place: str = "status") -> None:
    """The part of the API server's check that a status can fail."""
    if value is None:
        assert schema.get("nullable"), place
        return
    assert isinstance(value, TYPES[schema["type"]]), place
    assert not (isinstance(value, bool) and schema["type"] != "boolean"), place
    if isinstance(value, str):
        assert len(value) <= schema.get("maxLength", len(value)), place
        assert not CONTROL.search(value), place
    if isinstance(value, int):
        assert -(2**63) <= value < 2**63, place
    if isinstance(value, list):
        assert len(value) <= schema.get("maxItems", len(value)), place
        for number, item in enumerate(value):
            fits(schema["items"], item, f"{place}[{number}]")
    if isinstance(value, dict):
        assert len(value) <= schema.get("maxProperties", len(value)), place
        for name, item in value.items():
            assert not CONTROL.search(name), place
            fits(schema["properties"][name] if "properties" in schema else schema["additionalProperties"], item, f"{place}.{name}")


def is_sound(status: Status) -> None:
    found = status.to_object()
    text = json.dumps(found, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    assert len(text.encode()) < MAX_STATUS_BYTES
    fits(SCHEMA, found)
    assert Status.model_validate(json.loads(text)) == status


def follow(seen: Observed, passes: int = 4) -> None:
    """The passes that follow each other until there is nothing more to do: each is planned, each status can be written."""
    for number in range(passes):
        made = plan(seen, SETTINGS, NOW + timedelta(seconds=15 * number))
        is_sound(made.status)
        if made.intent is not None:
            INTENT.validate_json(made.intent.model_dump_json())
        for event in made.events:
            assert not CONTROL.search(event.message)
        json.dumps(made.create, allow_nan=False)
        seen = Observed(**(vars(seen) | {"job": seen.job.model_copy(update={"status": made.status})}))


def parsed(text: str | bytes) -> Report | None:
    try:
        return parse_report(text)
    except ValueError as error:
        refusal = str(error)
    assert not CONTROL.search(refusal)
    assert len(refusal) < 400
    return None


def one_member(report: dict[str, Any]) -> dict[str, Any]:
    """Shorter: the members are alike."""
    return report | {"members": report["members"][:1], "failures": report["failures"][:1]}


def test_any_field_of_a_report_may_be_spoiled() -> None:
    status, fields = STATES["rolling back"]
    taken = 0
    for word in each_spoiled(one_member(json.loads(TRUE.model_dump_json()))):
        if (report := parsed(json.dumps(word))) is not None:
            taken += 1
            follow(make_seen(make_job(status, **fields), report=report), passes=1)
    assert taken > 100, "most of them are reports"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(word=spoiled(json.loads(TRUE.model_dump_json())) | json_values(), state=st.sampled_from(sorted(STATES)))
def test_whatever_is_reported_a_pass_goes_through_and_its_status_is_valid(word: Any, state: str) -> None:
    report = parsed(json.dumps(word))
    if report is None:
        return
    status, fields = STATES[state]
    follow(make_seen(make_job(status, **fields), report=report))


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200) | st.binary(max_size=200) | json_values().map(json.dumps))
def test_what_is_no_report_is_refused_in_one_way(text: str | bytes) -> None:
    parsed(text)


LEFT = {"code": 64, "message": "ValueError: x", "done": False, "suspended_at_step": 3, "step": 4}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=spoiled(LEFT).map(json.dumps) | st.text(max_size=100), said=st.sampled_from(["Failed", "Succeeded"]), code=st.integers(0, 255))
def test_whatever_a_pod_leaves_behind_a_pass_goes_through_and_its_status_is_valid(words: str, said: str, code: int) -> None:
    leave(words, said, code)


@pytest.mark.parametrize("code", [1, 64])
def test_any_field_of_a_pods_last_words_may_be_spoiled(code: int) -> None:
    for words in each_spoiled(LEFT | {"code": code}):
        leave(json.dumps(words), "Failed", code)


def leave(words: str, said: str, code: int) -> None:
    """A worker has ended, and left these words."""
    ended = {"terminated": {"exitCode": code, "reason": "Error", "message": words}}
    manifest = {
        "metadata": {
            "name": "digits-worker-0-0",
            "namespace": "team",
            "labels": {
                "batch.trainingjob.dev/role": "worker",
                "batch.trainingjob.dev/incarnation": "0",
                "batch.trainingjob.dev/worker-index": "0",
            },
            "ownerReferences": [
                {"apiVersion": "batch.trainingjob.dev/v1alpha1", "kind": "TrainingJob", "name": "digits", "uid": "u", "controller": True}
            ],
        },
        "status": {"phase": said, "containerStatuses": [{"name": "worker", "state": ended}]},
    }
    known = pods.read(manifest)
    assert known is not None
    assert known.pod.phase is PodPhase(said)
    follow(make_seen(report=None, pods=(known.pod, make_pod(1), make_pod(2), make_rendezvous())))
    follow(make_seen(pods=(known.pod, make_pod(1), make_pod(2), make_rendezvous())))
