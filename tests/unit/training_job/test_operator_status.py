"""What the status says: columns, conditions, figures that do not flood the API server, and its size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_builders import (
    CREATED,
    NOW,
    SETTINGS,
    make_condition,
    make_failure,
    make_job,
    make_log,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.contract.intent import MemberView, Report
from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.status import MAX_STATUS_BYTES, Status, StepMark, StopRecord
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase
from trainingjob_operator.controllers.training_job.status.storage import kept_words

STOP = StopRecord(request="suspend-1", time=NOW)
FAILING = StopRecord(request="fail-1-1", time=NOW, reason="PoisonousStep", message="step 7")
RELEASING = StopRecord(request="release-1-1", time=NOW, reason="PodsReleased", message="fewer than 2 ran")


def after(seen: Observed, seconds: float = 0.0) -> Status:
    return plan(seen, SETTINGS, NOW + timedelta(seconds=seconds)).status


def healthy(**fields: Any) -> Observed:
    """A job with the status that a pass over its healthy self writes."""
    job = make_job(make_status(**fields))
    return make_seen(job.model_copy(update={"status": after(make_seen(job))}))


def test_the_columns_of_kubectl_get() -> None:
    members = tuple(MemberView(worker=index, incarnation=0, phase="Stepping") for index in range(3))
    report = make_report(step=1240, total_steps=5000, members=members, world=3)
    job = make_job(make_status(ledger={"Starting": 12.0, "Training": 588.0}), workers={"replicas": 4, "minReplicas": 2})
    status = after(make_seen(job, report=report, pods=(*(make_pod(index) for index in range(4)), make_rendezvous())))
    # A fourth worker is asked for by the same pass; the columns are right already.
    assert (status.phase, status.display.workers, status.display.step, status.display.progress) == ("Running", "3/4", "1240/5000", "24%")
    assert (status.loss, status.checkpoint, status.goodput) == (0.25, 200, "98%")


def test_the_step_column_is_never_behind_the_checkpoint_that_was_made_of_it() -> None:
    report = make_report(step=170, total_steps=5000, log=make_log(checkpoint=200, checkpoints=(100, 200)))
    status = after(make_seen(make_job(make_status()), report=report))
    assert (status.step, status.checkpoint, status.display.step, status.display.progress) == (170, 200, "200/5000", "4%")


@pytest.mark.parametrize("report", [None, make_report()], ids=["none came", "an old one is the newest"])
def test_what_nobody_listened_to_is_known_from_the_last_words(report: Report | None) -> None:
    log = make_log(
        seq=9, checkpoint=500, checkpoints=(400, 500), exported="s3://bucket/digits/models/500-a1e1n1", done=True, result={"accuracy": 0.9}
    )
    words = Termination(code=0, done=True, log=log)
    pods = (*(make_pod(index, phase=PodPhase.SUCCEEDED, exit_code=0, termination=words) for index in range(3)), make_rendezvous())
    status = after(make_seen(make_job(make_status(step=240, total_steps=500)), report=report, pods=pods))
    assert (status.phase, status.step, status.checkpoint, status.checkpoints) == ("Succeeded", 500, 500, (400, 500))
    assert (status.model, status.metrics, status.display.step) == (log.exported, {"accuracy": 0.9}, "500/500")


STARTED = make_status(phase="Starting", opened_attempt=0)
PENDING = make_pod(0, phase=PodPhase.PENDING)
ROLLING = make_status(attempt=2, opened_attempt=1, restore={"kind": "Step", "step": 100, "request": "again"})
PHASES = {
    "nothing runs yet": (make_seen(make_job(STARTED), report=None, pods=(PENDING, make_rendezvous())), "Pending"),
    "workers import": (make_seen(make_job(STARTED), report=None), "Starting"),
    "steps are taken": (make_seen(), "Running"),
    "resumed, nothing runs yet": (make_seen(make_job(make_status(phase="Suspended")), report=None, pods=()), "Pending"),
    "resumed, workers import": (make_seen(make_job(make_status(phase="Pending")), report=None), "Starting"),
    "resumed, and at no step": (make_seen(make_job(make_status(phase="Starting")), report=make_report(stage="Proposed")), "Starting"),
    "no generation": (make_seen(report=make_report(stage="Over")), "Recovering"),
    "a rollback waits": (make_seen(make_job(ROLLING), report=make_report(attempt=2, stage="Over")), "RollingBack"),
    "a rollback's attempt has begun elsewhere": (make_seen(make_job(ROLLING), report=make_report(attempt=2)), "RollingBack"),
    "the stream is lost": (make_seen(report=None, reporting=False), "Running"),
    "stopping": (make_seen(make_job(make_status(stop=STOP), suspend=True)), "Suspending"),
    "failing": (make_seen(make_job(make_status(stop=FAILING))), "Failing"),
    "giving pods back": (make_seen(make_job(make_status(stop=RELEASING))), "Releasing"),
    "stopped": (make_seen(make_job(make_status(stop=STOP), suspend=True), report=make_report(stopped="suspend-1")), "Suspended"),
    "done": (make_seen(report=make_report(log=make_log(done=True))), "Succeeded"),
    "failed": (make_seen(report=make_report(failures=(make_failure("UserError"),), failure_count=1)), "Failed"),
}


@pytest.mark.parametrize(("seen", "phase"), PHASES.values(), ids=PHASES.keys())
def test_phase(seen: Observed, phase: str) -> None:
    assert after(seen).phase == phase


@pytest.mark.parametrize(("stop", "reason"), [(STOP, "Suspending"), (FAILING, "NotSuspended"), (RELEASING, "NotSuspended")])
def test_only_a_suspension_is_said_to_be_suspending(stop: StopRecord, reason: str) -> None:
    condition = after(make_seen(make_job(make_status(stop=stop)))).condition("Suspended")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", reason)


def test_figures_alone_wait_for_their_turn() -> None:
    seen = healthy()
    further = Observed(**(vars(seen) | {"report": make_report(step=250, loss=0.2)}))
    assert after(further, 9.9) == seen.job.status
    assert after(further, 10.0).step == 250


def test_whatever_else_changes_takes_the_figures_with_it() -> None:
    seen = healthy()
    lost = Observed(**(vars(seen) | {"report": make_report(step=250), "reporting": False}))
    status = after(lost, 1.0)
    assert (status.step, status.ledger_mark) == (250, NOW + timedelta(seconds=1))


def test_time_alone_is_no_reason_to_write_while_the_columns_stay() -> None:
    seen = healthy(ledger={"Training": 99_000.0}, ledger_mark=NOW)
    assert after(seen, 60.0) == seen.job.status


def test_a_loss_that_is_not_finite_is_null() -> None:
    assert after(make_seen(report=make_report(loss=float("nan"), metrics={"accuracy": float("inf"), "f1": 0.5}))).loss is None


def test_a_condition_keeps_its_time_until_its_value_changes() -> None:
    seen = healthy(conditions=(make_condition("Ready"), make_condition("Reporting")))
    lost = Observed(**(vars(seen) | {"reporting": False}))
    status = after(lost, 5.0)
    ready, reporting = status.condition("Ready"), status.condition("Reporting")
    assert ready is not None
    assert reporting is not None
    assert ready.last_transition_time == CREATED
    assert (reporting.status, reporting.reason, reporting.last_transition_time) == ("False", "NoStream", NOW + timedelta(seconds=5))


def test_an_operator_that_has_just_begun_does_not_say_that_nobody_reports() -> None:
    job = make_job(make_status())
    status = after(make_seen(job, report=make_report(reason="all workers are there")))
    seen = make_seen(job.model_copy(update={"status": status}))
    assert status.message
    begins = Observed(**(vars(seen) | {"report": None, "reporting": False, "connecting": True}))
    assert after(begins, 5) == seen.job.status
    assert after(begins, 3600) == seen.job.status, "goodput alone is not worth a write of every job at once"
    late = Observed(**(vars(begins) | {"connecting": False}))
    told = after(late, 15).condition("Reporting")
    assert told is not None
    assert told.status == "False"
    another = Observed(**(vars(begins) | {"pods": tuple(make_pod(index) for index in range(3))}))
    status = after(another, 5)
    assert status.rendezvous.epoch == 2
    assert [condition.status for condition in status.conditions if condition.type == "Reporting"] == ["False"], "that one is gone"


def test_a_metric_that_is_not_finite_is_told_once_and_taken_back() -> None:
    seen, words = healthy(), "loss is nan on the validation data, at step 40"
    first = plan(Observed(**(vars(seen) | {"report": make_report(not_finite=words)})), SETTINGS, NOW + timedelta(seconds=1))
    assert first.status.not_finite == words
    assert [(event.type, event.reason) for event in first.events] == [("Warning", "NotFinite")]
    assert first.events[0].message.startswith(f"{words}; it is left out of the metrics: check these samples")
    later = seen.job.model_copy(update={"status": first.status})
    for report in (make_report(not_finite=words), make_report(), None):
        stays = plan(Observed(**(vars(seen) | {"job": later, "report": report})), SETTINGS, NOW + timedelta(seconds=2))
        assert stays.status.not_finite == words, "nobody has evaluated again"
        assert "NotFinite" not in [event.reason for event in stays.events]
    mended = plan(Observed(**(vars(seen) | {"job": later, "report": make_report(not_finite="")})), SETTINGS, NOW + timedelta(seconds=3))
    assert mended.status.not_finite == ""


def test_trouble_with_the_storage_is_told_once_and_taken_back() -> None:
    seen = healthy()
    assert seen.job.status.condition("StorageFailing") is None
    troubled = Observed(**(vars(seen) | {"report": make_report(trouble="worker 1: the store is full")}))
    first = plan(troubled, SETTINGS, NOW + timedelta(seconds=1))
    condition = first.status.condition("StorageFailing")
    assert condition is not None
    words = "worker 1: the store is full; the newest checkpoint is step 200; training goes on"
    assert (condition.status, condition.reason, condition.message) == ("True", "StorageFails", words)
    assert (first.status.phase, first.status.message) == ("Running", words)
    assert [(event.type, event.reason) for event in first.events] == [("Warning", "StorageFails")]
    later = seen.job.model_copy(update={"status": first.status})
    assert plan(Observed(**(vars(troubled) | {"job": later})), SETTINGS, NOW + timedelta(seconds=2)).status == first.status
    unheard = plan(Observed(**(vars(troubled) | {"job": later, "report": None})), SETTINGS, NOW + timedelta(seconds=2)).status
    assert unheard.condition("StorageFailing") == condition, "nobody says otherwise"
    mended = plan(Observed(**(vars(seen) | {"job": later})), SETTINGS, NOW + timedelta(seconds=3))
    condition = mended.status.condition("StorageFailing")
    assert condition is not None
    assert (condition.status, condition.reason, condition.message) == ("False", "StorageWorks", "")
    assert [(event.type, event.message) for event in mended.events] == [
        ("Normal", "storage works again; the newest checkpoint is step 200")
    ]


def test_failing_storage_comes_with_the_age_of_what_is_in_it_and_with_what_is_skipped() -> None:
    seen = healthy()
    saved = datetime(2026, 11, 29, 12, 31, 5, tzinfo=UTC)
    log = LogPosition(seq=3, attempt=1, checkpoint=400, checkpoint_time=saved.timestamp())
    report = make_report(trouble="worker 1: storage has not answered for 30 s", log=log, skipping_since=600)
    status = plan(Observed(**(vars(seen) | {"report": report})), SETTINGS, NOW + timedelta(seconds=1)).status
    assert status.last_checkpoint_time == saved
    assert status.message == (
        "worker 1: storage has not answered for 30 s; the newest checkpoint is step 400, saved at 12:31:05 UTC; training goes on;"
        " saves are skipped since step 600"
    )
    refusal = make_report(trouble="worker 1: " + "x" * 300, log=log)
    assert plan(Observed(**(vars(seen) | {"report": refusal})), SETTINGS, NOW).status.message == refusal.trouble, "nothing is cut off"
    for hostile in (1e300, -1e300):
        odd = make_report(log=log.model_copy(update={"checkpoint_time": hostile}))
        assert plan(Observed(**(vars(seen) | {"report": odd})), SETTINGS, NOW).status.last_checkpoint_time is None


def test_a_job_that_is_suspended_while_its_storage_fails_does_not_say_that_it_works() -> None:
    seen = healthy()
    troubled = Observed(**(vars(seen) | {"report": make_report(trouble="worker 1: the store is full")}))
    status = plan(troubled, SETTINGS, NOW).status.model_copy(update={"stop": STOP})
    job = seen.job.model_copy(update={"status": status, "spec": seen.job.spec.model_copy(update={"suspend": True})})
    gone = Observed(**(vars(seen) | {"job": job, "report": None, "reporting": False, "pods": ()}))
    last = plan(gone, SETTINGS, NOW + timedelta(seconds=5))
    assert last.status.phase == "Suspended"
    condition = last.status.condition("StorageFailing")
    assert condition is not None
    assert (condition.status, condition.message) == ("True", "worker 1: the store is full; the newest checkpoint is step 200")
    assert "StorageWorks" not in [event.reason for event in last.events]


@pytest.mark.parametrize(
    ("step", "checkpoint", "words"),
    [
        (None, None, "nothing was saved yet"),
        (0, None, "nothing was saved yet"),
        (40, 40, "saved at step 40"),
        (39, 40, "saved at step 40"),
        (41, 40, "stopped at step 41; the newest checkpoint in storage is step 40; step 41 is lost"),
        (241, 40, "stopped at step 241; the newest checkpoint in storage is step 40; steps 41 to 241 are lost"),
        (241, None, "stopped at step 241; there is no checkpoint in storage; steps 1 to 241 are lost"),
    ],
)
def test_what_is_said_of_a_stop_is_what_is_in_storage(step: int | None, checkpoint: int | None, words: str) -> None:
    assert kept_words(step, checkpoint) == words


def test_all_conditions_speak_of_the_generation_they_saw() -> None:
    status = after(make_seen(make_job(make_status(), generation=4)))
    assert {condition.type for condition in status.conditions} == {"Complete", "Failed", "Suspended", "Ready", "Reporting", "Valid"}
    assert {condition.observed_generation for condition in status.conditions} == {4}


def test_a_new_attempt_moves_undone_steps_to_lost() -> None:
    marks = (StepMark(step=100, training_seconds=200.0), StepMark(step=200, training_seconds=500.0))
    status = make_status(attempt=2, opened_attempt=1, phase="Recovering", step_marks=marks)
    log = make_log(attempt=2, opened_attempt=2, restored_step=100, checkpoint=100, checkpoints=(100,))
    new = after(make_seen(make_job(status), report=make_report(attempt=2, log=log)))
    assert (new.ledger, new.opened_attempt, new.step_marks) == ({"Starting": 60.0, "Training": 200.0, "Lost": 340.0}, 2, marks[:1])
    assert new.goodput == "33%"


def test_a_rollback_ends_with_its_condition() -> None:
    status = make_status(attempt=2, restore={"kind": "Step", "step": 100, "request": "again"})
    log = make_log(attempt=2, opened_attempt=2, restored_step=100, request="again")
    job = make_job(status, rollback={"toStep": 100, "request": "again"})
    new = after(make_seen(job, report=make_report(attempt=2, log=log)))
    condition = new.condition("RolledBack")
    assert condition is not None
    assert (new.last_rollback_request, condition.status) == ("again", "True")


def test_what_keeps_a_pod_waiting_is_the_message() -> None:
    waiting = make_pod(0, phase=PodPhase.PENDING, reason="ImagePullBackOff", message="no such image")
    status = after(make_seen(make_job(STARTED), report=None, pods=(waiting, make_rendezvous())))
    assert status.message == "worker-0-0: ImagePullBackOff: no such image"


def test_the_largest_job_in_trouble_stays_under_the_limit() -> None:
    spec = {"replicas": 512, "minReplicas": 1}
    failures = tuple(make_failure("Crash", index, message="x" * 1024) for index in range(20))
    log = make_log(checkpoints=tuple(range(10**8, 10**8 + 20)), quarantined=tuple(range(10**8, 10**8 + 20)), exported="s3://" + "x" * 2000)
    metrics = {f"{'m' * 60}{number}": 1 / 3 for number in range(32)}
    report = make_report(failures=failures, failure_count=20, log=log, metrics=metrics, reason="y" * 5000)
    job = make_job(make_status(workers=tuple({"index": index, "incarnation": 1000} for index in range(512))), workers=spec)
    status = after(make_seen(job, pods=(make_rendezvous(),), report=report))
    assert len(status.model_dump_json(by_alias=True, exclude_none=True)) < MAX_STATUS_BYTES


def test_the_status_comes_back_from_the_api_server_as_it_went() -> None:
    status = after(make_seen())
    assert Status.model_validate(status.to_object()) == status
