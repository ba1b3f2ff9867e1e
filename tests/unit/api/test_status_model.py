"""A status can always be read, is always small, and says nothing that JSON cannot hold."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_api.status import MAX_STATUS_BYTES, Condition, FailureRecord, PlacementRecord, Status, StepMark, StopRecord, WorkerRecord

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
LONG = "x" * 5000


def full() -> Status:
    """A status with everything at its bound."""
    return Status(
        phase=LONG,
        message=LONG,
        conditions=tuple(
            Condition(type=LONG, status=LONG, reason=LONG, message=LONG, last_transition_time=NOW, observed_generation=10**6)
            for _ in range(40)
        ),
        observed_generation=10**6,
        attempt=10**6,
        workers=tuple(WorkerRecord(index=index, incarnation=100 + index % 7) for index in range(600)),
        unseen=tuple(range(600)),
        image=LONG,
        build=LONG,
        revision=LONG,
        key_id=LONG,
        placement=PlacementRecord(short_since=NOW, releases=10**6, retry_time=NOW),
        opened_attempt=10**6,
        stop=StopRecord(request=LONG, time=NOW, reason=LONG, message=LONG),
        quarantined=tuple(10**9 - index for index in range(100)),
        reported_failures=10**6,
        ready_workers=512,
        wanted_workers=512,
        step=10**9,
        total_steps=10**9,
        loss=0.123456789012345678,
        samples_per_second=123456.789012345678,
        metrics={f"{index}{LONG}": 0.123456789012345678 for index in range(100)},
        not_finite=LONG,
        checkpoint=10**9,
        checkpoints=tuple(10**9 - index for index in range(100)),
        failures=10**6,
        last_failures=tuple(FailureRecord(worker=511, cause=LONG, message=LONG, step=10**9, time=NOW) for _ in range(30)),
        goodput="98%",
        ledger={f"row{index}": 12345678.123456 for index in range(40)},
        ledger_mark=NOW,
        step_marks=tuple(StepMark(step=10**9, training_seconds=12345678.123456) for _ in range(90)),
        last_rollback_request=LONG,
        model=LONG,
        start_time=NOW,
        completion_time=NOW,
    )


def test_a_full_status_is_under_16_kib():
    assert len(json.dumps(full().to_object(), separators=(",", ":"), ensure_ascii=False).encode()) < MAX_STATUS_BYTES


def test_a_status_goes_through_json_unchanged():
    status = full()

    assert Status.model_validate(json.loads(json.dumps(status.to_object(), allow_nan=False))) == status


def test_lists_keep_the_newest():
    assert Status(checkpoints=tuple(range(50))).checkpoints == tuple(range(30, 50))


def test_a_long_text_is_cut_where_a_person_sees_it():
    assert Status(message=LONG).message == "x" * 327 + "…"


def test_numbers_that_are_not_finite_become_null():
    status = Status(loss=float("nan"), samples_per_second=float("inf"), metrics={"a": float("nan"), "b": 1.0})

    assert status.loss is None
    assert status.samples_per_second is None
    assert status.metrics == {"b": 1.0}


def test_workers_are_written_as_a_list_of_incarnations_and_read_as_records():
    status = Status(workers=(WorkerRecord(index=0, incarnation=1), WorkerRecord(index=3, incarnation=4)))

    assert status.to_object()["workers"] == [1, -1, -1, 4]
    assert Status.model_validate({"workers": [1, -1, -1, 4]}) == status
    assert Status.model_validate({"workers": [{"index": 0, "incarnation": 1}, {"index": 3, "incarnation": 4}]}) == status


def test_unseen_workers_are_written_as_ranges():
    status = Status(unseen=(0, 1, 2, 7, 9, 10))

    assert status.to_object()["unseen"] == "0-2,7,9-10"
    assert Status.model_validate({"unseen": "0-2,7,9-10"}) == status
    assert Status().to_object()["unseen"] == ""
    assert Status.model_validate({"unseen": ""}) == Status()


def test_a_text_is_cut_by_its_bytes_and_never_inside_a_letter():
    message = Status(message="\N{CJK UNIFIED IDEOGRAPH-4E00}" * 500).message

    assert len(message.encode()) <= 330
    assert message.endswith("\N{CJK UNIFIED IDEOGRAPH-4E00}…")


def test_what_a_newer_operator_wrote_is_read():
    status = Status.model_validate(
        {"phase": "Hibernating", "novelty": {"a": 1}, "display": {"colour": "red"}, "restore": {"kind": "Branch"}}
    )

    assert status.phase == "Hibernating"
    assert status.restore.kind == "Branch"


def test_of_more_conditions_than_there_may_be_those_that_decisions_are_made_by_stay():
    foreign = [{"type": f"New{index}", "status": "True", "reason": "Because", "novelty": 1} for index in range(9)]
    status = Status.model_validate({"conditions": [*foreign, {"type": "Complete", "status": "True"}]})

    assert [condition.type for condition in status.conditions] == ["Complete", *(f"New{index}" for index in range(8))]


@pytest.mark.parametrize(("text", "numbers"), [("0-2,7,every", (0, 1, 2, 7)), ("0-999999999", tuple(range(512))), ("3-", ()), ("!", ())])
def test_numbers_in_another_form_are_passed_over(text: str, numbers: tuple[int, ...]):
    assert Status.model_validate({"unseen": text}).unseen == numbers


def test_an_absent_status_is_an_empty_one():
    assert Status.model_validate({}) == Status()


def test_a_condition_is_found_by_its_type():
    status = Status(conditions=(Condition(type="Ready", status="True"), Condition(type="Failed", status="False")))

    assert status.condition("Failed") == status.conditions[1]
    assert status.condition("Complete") is None


@settings(deadline=None)
@given(
    st.builds(
        Status,
        phase=st.text(max_size=100),
        loss=st.floats(),
        metrics=st.dictionaries(st.text(max_size=60), st.floats(), max_size=40),
        checkpoints=st.lists(st.integers(0, 10**9), max_size=30).map(tuple),
        unseen=st.sets(st.integers(0, 511)).map(lambda found: tuple(sorted(found))),
        workers=st.dictionaries(st.integers(0, 511), st.integers(0, 50), max_size=20).map(
            lambda found: tuple(WorkerRecord(index=index, incarnation=count) for index, count in sorted(found.items()))
        ),
    )
)
def test_any_status_can_be_written_as_strict_json_and_read_back(status: Status):
    text = json.dumps(status.to_object(), allow_nan=False)

    assert Status.model_validate(json.loads(text)) == status
