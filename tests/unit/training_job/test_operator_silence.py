"""A job of which nothing is heard does not pass for one that trains, and not for one that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from operator_builders import (
    CREATED,
    NOW,
    SETTINGS,
    make_condition,
    make_failed,
    make_job,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.status import PlacementRecord, Status
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed, Plan, PodPhase

LIMIT = 10.0
SINCE = "2026-01-01 12:10:00 UTC"
WORDS = f"the rendezvous has been silent since {SINCE}; whether steps are being taken is unknown"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def passed(seen: Observed, seconds: float, **fields: Any) -> tuple[Observed, Plan]:
    """The same job after a pass so many seconds later, and what it decided."""
    seen = replace(seen, **fields)
    decided = plan(seen, SETTINGS, at(seconds))
    return replace(seen, job=seen.job.model_copy(update={"status": decided.status})), decided


def training(**spec: Any) -> Observed:
    """A job that trains at 1000 samples a second; its status was written now."""
    return passed(make_seen(make_job(make_status(), **spec)), 0.0)[0]


def lost(seen: Observed, *, seconds: float = 1.0) -> Observed:
    """The same, once the stream broke; nothing has come over it since NOW."""
    return passed(seen, seconds, reporting=False, unheard_seconds=seconds)[0]


def shown(status: Status) -> tuple[str, str, str, float | None, str, int]:
    ready = status.condition("Ready")
    assert ready is not None
    return status.phase, ready.status, ready.reason, status.samples_per_second, status.display.workers, status.ready_workers


RUNNING = ("Running", "True", "Training", 1000.0, "3/3", 3)
ROLLBACK = {"toStep": 100, "request": "back"}
UNKNOWN = ("Unknown", "Unknown", "NoReport", None, "?/3", 0)


def test_a_short_silence_changes_no_claim() -> None:
    seen = lost(training())
    assert shown(seen.job.status) == RUNNING
    assert shown(passed(seen, LIMIT - 1)[1].status) == RUNNING


@pytest.mark.parametrize("report", [None, make_report(step=241)], ids=["its rendezvous is replaced", "its stream is broken"])
def test_after_the_limit_nothing_is_claimed_and_it_is_said_since_when(report: Any) -> None:
    seen, decided = passed(lost(training()), LIMIT, report=report)
    assert shown(seen.job.status) == UNKNOWN
    ready = seen.job.status.condition("Ready")
    assert ready is not None
    assert ready.message == seen.job.status.message == WORDS
    assert [(event.type, event.reason, event.message) for event in decided.events] == [("Warning", "NoReport", WORDS)]
    again, decided = passed(seen, 60.0)
    assert (shown(again.job.status), decided.events) == (UNKNOWN, ())
    assert again.job.status.message == WORDS
    assert again.job.status.step in (240, 241), "what was finished stays"


def test_the_pass_that_says_so_is_asked_for() -> None:
    seen = lost(training())
    after = passed(seen, 9.0)[1].requeue_after
    assert after is not None
    assert after <= LIMIT - 9.0
    assert passed(passed(seen, LIMIT)[0], LIMIT + 1)[1].requeue_after not in (None, 0.0)


def test_since_when_is_remembered_from_the_last_message() -> None:
    """A process that hangs is noticed by its pongs, seconds after the last."""
    seen = lost(training(), seconds=12.0)
    reporting = seen.job.status.condition("Reporting")
    assert reporting is not None
    assert (reporting.status, reporting.last_transition_time) == ("False", NOW)
    assert shown(passed(seen, LIMIT)[0].job.status) == UNKNOWN


def test_goodput_does_not_grow_from_the_last_report_on() -> None:
    seen = lost(training())
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 541.0}
    seen = passed(seen, LIMIT)[0]
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 540.0, "Unknown": LIMIT}
    seen = passed(seen, 600.0)[0]
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 540.0, "Unknown": 600.0}
    assert seen.job.status.goodput == "45%"


@pytest.mark.parametrize(("step", "trained"), [(240, 0.0), (250, 0.64), (24_000, 100.0)], ids=["none", "ten steps", "all the time"])
def test_what_was_trained_meanwhile_is_training_time_once_it_is_known(step: int, trained: float) -> None:
    seen = passed(lost(training()), LIMIT)[0]
    report = make_report(step=step)
    assert seen.job.spec.training.global_batch_size / report.samples_per_second == 0.064
    seen, decided = passed(seen, 100.0, report=report, reporting=True, unheard_seconds=0.0)
    assert shown(seen.job.status) == RUNNING
    assert seen.job.status.ledger["Training"] == pytest.approx(540.0 + trained)
    assert sum(seen.job.status.ledger.values()) == pytest.approx(700.0)
    assert [event.reason for event in decided.events] == ["Connected"]
    assert decided.events[0].message == "the rendezvous is heard again: 3 of 3 workers train"


def test_another_operator_leaves_it_unknown() -> None:
    seen = passed(lost(training()), LIMIT)[0]
    begins = replace(seen, report=None, connecting=True, unheard_seconds=0.0, inherited=True)
    assert passed(begins, 30.0)[0].job.status.message == WORDS
    assert shown(passed(begins, 30.0)[0].job.status) == UNKNOWN
    assert shown(passed(begins, 30.0, connecting=False, unheard_seconds=LIMIT)[0].job.status) == UNKNOWN


def test_an_operator_that_begins_and_never_hears_the_rendezvous_claims_nothing_after_its_time() -> None:
    """The one before it was away for a minute, in which nobody looked."""
    begins = replace(training(), report=None, reporting=False, connecting=True, unheard_seconds=3.0)
    assert passed(begins, 63.0)[1].status == begins.job.status
    seen = passed(begins, 75.0, connecting=False, unheard_seconds=LIMIT)[0]
    assert shown(seen.job.status) == UNKNOWN
    assert seen.job.status.message == WORDS.replace("12:10:00", "12:11:05")
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 540.0, "Unknown": 75.0}


def test_rendezvous_that_follow_each_other_unheard_do_not_begin_the_silence_anew() -> None:
    seen = lost(training())
    seen = passed(seen, 5.0, pods=tuple(make_pod(index) for index in range(3)), report=None)[0]
    assert seen.job.status.rendezvous.epoch == 2
    seen = passed(seen, 9.0, pods=(*seen.pods, make_rendezvous(2)), unheard_seconds=1.0, connecting=True)[0]
    assert shown(seen.job.status) == RUNNING
    assert shown(passed(seen, LIMIT)[0].job.status) == UNKNOWN


@pytest.mark.parametrize("phase", ["Stalled", "Evaluating", "Finishing"])
def test_nothing_else_is_claimed_either(phase: str) -> None:
    seen = make_seen(make_job(make_status(phase=phase)), report=None, reporting=False, unheard_seconds=LIMIT)
    assert shown(passed(seen, 0.0)[0].job.status) == UNKNOWN


def test_a_loss_is_still_known_and_what_becomes_of_it_is_not() -> None:
    seen = make_seen(make_job(make_status(phase="Recovering")), report=make_report(stage="Over"), reporting=False, unheard_seconds=LIMIT)
    assert shown(passed(seen, 0.0)[0].job.status) == ("Recovering", *UNKNOWN[1:])


def test_without_a_worker_that_runs_it_is_known_that_none_trains() -> None:
    pods = (*(make_pod(index, phase=PodPhase.PENDING) for index in range(3)), make_rendezvous())
    seen = passed(lost(training()), LIMIT)[0]
    assert shown(passed(seen, LIMIT + 1, pods=pods)[0].job.status) == ("Recovering", "False", "NotTraining", None, "0/3", 0)


@pytest.mark.parametrize("phase", ["Pending", "Starting"])
def test_a_job_that_has_not_begun_is_not_silent(phase: str) -> None:
    seen = make_seen(make_job(make_status(phase=phase, opened_attempt=0)), report=None, reporting=False, unheard_seconds=600.0)
    assert shown(passed(seen, 0.0)[0].job.status)[:3] == ("Starting", "False", "NotTraining")


def test_a_stall_that_comes_to_light_is_told() -> None:
    seen = passed(lost(training()), LIMIT)[0]
    report = make_report(stalled="Data", waits_for="worker 1 waits", still_seconds=40.0, samples_per_second=0.0)
    seen, decided = passed(seen, 50.0, report=report, reporting=True)
    assert shown(seen.job.status)[:3] == ("Stalled", "False", "WaitingForData")
    assert [event.reason for event in decided.events] == ["WaitingForData"]
    assert seen.job.status.ledger["Training"] == 540.0


def test_a_stop_that_nobody_confirms_claims_no_rate() -> None:
    seen = passed(training(), 1.0, job=make_job(training().job.status, suspend=True))[0]
    seen = passed(lost(seen, seconds=2.0), 2.0 + LIMIT)[0]
    assert shown(seen.job.status) == ("Suspending", "Unknown", "NoReport", None, "?/3", 0)


def test_no_rate_is_kept_where_none_is_reported() -> None:
    """A rendezvous that begins knows no step of its members yet."""
    seen = passed(training(), 1.0, report=make_report(stage="Over", step=None, samples_per_second=0.0))[0]
    assert (seen.job.status.phase, seen.job.status.samples_per_second) == ("Recovering", None)


def test_the_time_of_creation_is_no_silence() -> None:
    status = plan(make_seen(make_job(), pods=(), report=None, reporting=False), SETTINGS, CREATED).status
    reporting = status.condition("Reporting")
    assert reporting is not None
    assert (reporting.status, reporting.last_transition_time) == ("False", CREATED)


def asleep(kind: str) -> Observed:
    """A job that trained before, whose pods are gone, and which is to go on."""
    spoken = (make_condition("Reporting", False, "NoStream"), make_condition("Ready", False, "NotTraining"))
    known = {"checkpoint": 200, "checkpoints": (100, 200)}
    if kind == "Released":
        record = PlacementRecord(releases=1, retry_time=NOW)
        job = make_job(make_status(phase="Recovering", placement=record, conditions=spoken, **known))
    else:
        job = make_job(make_status(phase=kind, conditions=(make_condition(kind), *spoken), **known), rollback=ROLLBACK)
    return make_seen(job, pods=(), report=None, reporting=False)


@pytest.mark.parametrize(
    ("kind", "phase"), [("Suspended", "RollingBack"), ("Complete", "RollingBack"), ("Failed", "RollingBack"), ("Released", "Recovering")]
)
def test_the_silence_before_a_life_is_not_that_of_the_life(kind: str, phase: str) -> None:
    seen = asleep(kind)
    seen = passed(seen, 0.0)[0]
    assert seen.job.status.attempt == 2
    pods = (*(make_pod(index, 1) for index in range(3)), make_rendezvous(2))
    seen, decided = passed(seen, 3.0, pods=pods)
    assert shown(seen.job.status)[:3] == (phase, "False", "NotTraining")
    assert "NoReport" not in [event.reason for event in decided.events]
    again = passed(seen, 60.0, unheard_seconds=57.0)[0]
    assert shown(again.job.status)[:3] == (phase, "False", "NotTraining")


def test_a_life_that_was_heard_is_silent_from_its_own_last_report_on() -> None:
    seen = passed(asleep("Released"), 0.0)[0]
    pods = (*(make_pod(index, 1) for index in range(3)), make_rendezvous(2))
    seen = passed(seen, 20.0, pods=pods, reporting=True, report=make_report(epoch=2, attempt=2, generation=None, stage="Over"))[0]
    seen = passed(seen, 31.0, reporting=False, unheard_seconds=LIMIT)[0]
    assert shown(seen.job.status)[:3] == ("Recovering", "Unknown", "NoReport")
    ready = seen.job.status.condition("Ready")
    assert ready is not None
    assert ready.message == WORDS.replace("12:10:00", "12:10:21")


@pytest.mark.parametrize("stalled", ["Evaluating", "Finishing", "Data"])
def test_what_was_trained_before_a_stall_that_comes_to_light_is_training_time(stalled: str) -> None:
    seen = passed(lost(training()), LIMIT)[0]
    report = make_report(step=24_000, stalled=stalled, waits_for="they wait", still_seconds=40.0, samples_per_second=0.0)
    seen = passed(seen, 100.0, report=report, reporting=True, unheard_seconds=0.0)[0]
    assert seen.job.status.phase in ("Evaluating", "Finishing", "Stalled")
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 600.0, "Unknown": 40.0}


def test_what_was_trained_before_a_stop_is_training_time() -> None:
    seen = passed(lost(training()), LIMIT)[0]
    job = make_job(seen.job.status, suspend=True)
    seen = passed(seen, 100.0, job=job, report=make_report(step=24_000), reporting=True, unheard_seconds=0.0)[0]
    assert seen.job.status.phase == "Suspending"
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 640.0, "Unknown": 0.0}


def test_what_a_job_trained_that_ended_unheard_is_training_time() -> None:
    """540 seconds for 240 steps: 2.25 seconds for each of the last 20."""
    seen = passed(lost(training()), LIMIT)[0]
    pods = (*(make_failed(index, 0, done=True, step=260) for index in range(3)), make_rendezvous())
    seen = passed(seen, 100.0, pods=pods, report=None)[0]
    assert seen.job.status.phase == "Succeeded"
    assert seen.job.status.ledger == {"Starting": 60.0, "Training": 585.0, "Unknown": 55.0}


def test_a_job_that_becomes_invalid_is_not_said_to_train_for_ever() -> None:
    """It may train on, and nobody listens."""
    problem = "spec: Field novelty unknown"
    seen, decided = passed(training(), 1.0, problem=problem)
    reporting = seen.job.status.condition("Reporting")
    assert reporting is not None
    assert (reporting.status, reporting.last_transition_time) == ("False", at(1.0))
    assert shown(seen.job.status) == RUNNING
    assert decided.requeue_after == LIMIT
    seen = passed(seen, 1.0 + LIMIT, report=None, reporting=False, unheard_seconds=LIMIT)[0]
    assert shown(seen.job.status) == UNKNOWN
    valid, ready = seen.job.status.condition("Valid"), seen.job.status.condition("Ready")
    assert valid is not None
    assert ready is not None
    assert (valid.status, valid.message, seen.job.status.message) == ("False", problem, problem)
    assert ready.message == WORDS.replace("12:10:00", "12:10:01")
    again = passed(seen, 60.0)[1]
    assert (again.status, again.events) == (seen.job.status, ())
    seen = passed(seen, 61.0, pods=())[0]
    assert shown(seen.job.status) == ("Unknown", "False", "NotTraining", None, "0/3", 0)


@pytest.mark.parametrize("phase", ["", "Pending", "Suspended", "Succeeded", "Failed"])
def test_nothing_is_said_of_the_silence_of_a_job_that_is_invalid_and_does_not_run(phase: str) -> None:
    seen = make_seen(make_job(make_status(phase=phase)), pods=(), problem="no", report=None, reporting=False, unheard_seconds=600.0)
    seen, decided = passed(seen, 0.0)
    assert (decided.status.phase, decided.status.condition("Ready")) == (phase or "Pending", None)
    assert decided.requeue_after is None
