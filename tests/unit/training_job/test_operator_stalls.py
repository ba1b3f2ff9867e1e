"""A job whose generation runs and finishes no step does not pass for one that trains."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from operator_builders import NOW, SETTINGS, make_job, make_pod, make_rendezvous, make_report, make_seen, make_status
from trainingjob_api.contract.intent import Report, Stall
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.ledger import Row, moved
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed

WORDS = "worker 1 waits for its dataset's samples; the others wait"


def stalled(stall: str = Stall.DATA, seconds: float = 12.0) -> Report:
    return make_report(stalled=stall, waits_for=WORDS, still_seconds=seconds, samples_per_second=0.0)


def training(**fields: Any) -> Observed:
    """A job that trains, with the status of a pass over it."""
    job = make_job(make_status(**fields))
    return make_seen(job.model_copy(update={"status": plan(make_seen(job), SETTINGS, NOW).status}))


def later(seen: Observed, report: Report | None, seconds: float, **fields: Any) -> Observed:
    """The same job after a pass that sees `report` so many seconds later."""
    status = plan(replace(seen, report=report, **fields), SETTINGS, NOW + timedelta(seconds=seconds)).status
    return replace(seen, job=seen.job.model_copy(update={"status": status}), report=report)


def shown(status: Status) -> tuple[str, str, str, float | None, str]:
    ready = status.condition("Ready")
    assert ready is not None
    return status.phase, ready.status, ready.reason, status.samples_per_second, status.display.workers


def test_a_stall_is_written_at_once_with_who_waits_for_whom() -> None:
    seen = training()
    assert shown(seen.job.status) == ("Running", "True", "Training", 1000.0, "3/3")
    status = later(seen, stalled(), 1.0).job.status
    assert shown(status) == ("Stalled", "False", "WaitingForData", None, "0/3")
    ready = status.condition("Ready")
    assert ready is not None
    assert ready.message == status.message == WORDS


def test_the_time_since_the_last_step_is_taken_from_training() -> None:
    seen = training(ledger={"Starting": 60.0, "Training": 540.0})
    status = later(seen, stalled(seconds=12.0), 1.0).job.status
    assert status.ledger == {"Starting": 60.0, "Training": 529.0, "Stalled": 12.0}
    again = later(later(seen, stalled(seconds=12.0), 1.0), stalled(seconds=22.0), 11.0).job.status
    assert again.ledger == {"Starting": 60.0, "Training": 529.0, "Stalled": 22.0}
    assert again.goodput == "86%", "it falls while nothing is trained"


def test_a_step_makes_it_running_again_at_once() -> None:
    seen = later(training(), stalled(), 1.0)
    decided = plan(replace(seen, report=make_report(step=241)), SETTINGS, NOW + timedelta(seconds=2))
    assert shown(decided.status) == ("Running", "True", "Training", 1000.0, "3/3")
    assert [event.reason for event in decided.events] == ["Recovered"]


@pytest.mark.parametrize(
    ("stall", "phase", "reason", "workers", "row"),
    [
        ("Storage", "Stalled", "WaitingForStorage", "0/3", "Stalled"),
        ("Link", "Stalled", "WaitingForLink", "0/3", "Stalled"),
        ("Compile", "Stalled", "Compiling", "0/3", "Stalled"),
        ("Step", "Stalled", "LongStep", "0/3", "Stalled"),
        ("Hang", "Stalled", "Hanging", "0/3", "Stalled"),
        ("Restoring", "Stalled", "Restoring", "0/3", "Stalled"),
        ("Evaluating", "Evaluating", "Evaluating", "3/3", "Evaluating"),
        ("Finishing", "Finishing", "Finishing", "3/3", "Finishing"),
        ("What a newer rendezvous says", "Stalled", "Hanging", "0/3", "Stalled"),
    ],
)
def test_each_reason_has_its_words_and_its_row(stall: str, phase: str, reason: str, workers: str, row: str) -> None:
    status = later(training(), stalled(stall), 1.0).job.status
    assert shown(status) == (phase, "False", reason, None, workers)
    assert status.ledger[row] == 12.0


def test_a_stall_is_told_as_an_event_once_and_the_usual_course_of_things_is_not() -> None:
    seen = training()
    decided = plan(replace(seen, report=stalled()), SETTINGS, NOW + timedelta(seconds=1))
    assert [(event.reason, event.message) for event in decided.events] == [("WaitingForData", WORDS)]
    assert plan(replace(later(seen, stalled(), 1.0)), SETTINGS, NOW + timedelta(seconds=1)).events == ()
    assert plan(replace(seen, report=stalled("Finishing")), SETTINGS, NOW + timedelta(seconds=1)).events == ()


def test_seconds_alone_are_a_figure_which_waits_for_its_turn() -> None:
    seen = later(training(), stalled(), 1.0)
    assert plan(replace(seen, report=stalled(seconds=15.0)), SETTINGS, NOW + timedelta(seconds=4)).status == seen.job.status


def test_a_stalled_job_that_is_not_heard_any_more_stays_so() -> None:
    seen = later(training(), stalled(), 1.0)
    status = later(seen, None, 5.0, reporting=False).job.status
    assert shown(status) == ("Stalled", "False", "WaitingForData", None, "0/3")
    assert status.message in ("", WORDS)


def test_no_more_is_moved_than_there_is() -> None:
    assert moved({"Starting": 5.0, "Training": 3.0}, 12.0, Row.STALLED) == {"Starting": 5.0, "Training": 0.0, "Stalled": 3.0}
    assert moved({"Starting": 5.0}, 12.0, Row.STALLED) == {"Starting": 5.0}


CUT = "workers 0 and 2 cannot reach each other: worker 2 is left out"


def test_a_cut_link_is_named_while_the_others_train_and_told_as_an_event_once() -> None:
    seen = training()
    report = make_report(world=2, members=make_report().members[:2], links=CUT)
    decided = plan(replace(seen, report=report), SETTINGS, NOW + timedelta(seconds=1))
    assert shown(decided.status) == ("Running", "True", "Training", 1000.0, "2/3")
    assert decided.status.message == CUT
    assert [(event.reason, event.message) for event in decided.events] == [("LinkCut", CUT)]
    assert plan(later(seen, report, 1.0), SETTINGS, NOW + timedelta(seconds=2)).events == ()


def test_a_job_that_cannot_train_without_the_cut_worker_says_so() -> None:
    seen = later(training(), make_report(stage="Over", reason="2 of at least 3 workers are ready", links=CUT), 1.0)
    ready = seen.job.status.condition("Ready")
    assert ready is not None
    assert (seen.job.status.phase, ready.reason, ready.message) == ("Recovering", "WaitingForLink", CUT)


def before_its_first_step(stall: str = "") -> Report:
    return make_report(step=None, stalled=stall, waits_for=WORDS if stall else "", samples_per_second=0.0)


@pytest.mark.parametrize(
    ("stall", "reason", "events"),
    [
        ("Storage", "WaitingForStorage", ["WaitingForStorage"]),
        ("Compile", "Compiling", ["Compiling"]),
        ("Hang", "Hanging", ["Hanging"]),
        ("Restoring", "Restoring", []),
    ],
)
def test_a_stall_before_the_first_step_has_its_reason_and_is_told_once(stall: str, reason: str, events: list[str]) -> None:
    seen = make_seen(make_job(make_status(phase="Starting", step=None)), report=before_its_first_step())
    seen = later(seen, before_its_first_step(), 1.0)
    assert shown(seen.job.status)[:3] == ("Starting", "False", "NotTraining")
    report = before_its_first_step(stall)
    decided = plan(replace(seen, report=report), SETTINGS, NOW + timedelta(seconds=2))
    assert shown(decided.status)[:3] == ("Starting", "False", reason)
    ready = decided.status.condition("Ready")
    assert ready is not None
    assert ready.message == WORDS
    assert [event.reason for event in decided.events] == events
    seen = later(seen, report, 2.0)
    assert plan(seen, SETTINGS, NOW + timedelta(seconds=3)).events == ()
    unheard = replace(seen, report=None, reporting=False, connecting=True)
    assert plan(unheard, SETTINGS, NOW + timedelta(seconds=4)).status.condition("Ready") == ready, "another operator leaves it as it was"


def test_what_held_up_another_attempt_is_no_reason() -> None:
    seen = make_seen(make_job(make_status(phase="RollingBack", attempt=2, opened_attempt=1)))
    seen = later(seen, make_report(step=None, stalled=Stall.HANG, waits_for=WORDS), 1.0)
    assert shown(seen.job.status)[2] == "NotTraining"


def test_the_rendezvous_is_told_where_the_workers_are() -> None:
    pods = (*(make_pod(index, node=f"node-{index % 2}") for index in range(3)), make_rendezvous())
    intent = plan(make_seen(pods=pods), SETTINGS, NOW).intent
    assert intent is not None
    assert [seat.node for seat in intent.workers] == ["node-0", "node-1", "node-0"]
