"""When a new attempt begins: rollbacks, lost state, a log that has gone ahead."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import NOW, SETTINGS, make_condition, make_job, make_log, make_report, make_seen, make_status
from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.messages import GenerationId, Keep
from trainingjob_api.status import RestorePoint, Status
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.policy import attempts, rollback
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted
from trainingjob_operator.controllers.training_job.state import Observed

ASKED = {"toStep": 100, "request": "again"}
KEEP = Keep(step=100, request="again")
POINT = RestorePoint(kind="Step", step=100, request="again")
FRESH = make_status(attempt=1, opened_attempt=0)


def seen_with(status: Status | None = None, report: Report | None = None, **fields: Any) -> Observed:
    return make_seen(make_job(status or make_status(), **fields), report=report or make_report())


def attempt_of(seen: Observed) -> tuple[int, RestorePoint]:
    wanted = attempts.renewed(seen, rollback.carried(seen, Wanted.of(seen.job.status)))
    return wanted.attempt, wanted.restore


LATEST = RestorePoint()


def keeping(**log: Any) -> Report:
    """The report of a rendezvous whose agents pin checkpoints."""
    return make_report(keeps=True, log=make_log(**log))


ATTEMPTS = {
    "training goes on": (seen_with(), (1, LATEST)),
    "a rollback": (seen_with(rollback=ASKED), (2, POINT)),
    "a rollback above what the log knows": (seen_with(rollback=ASKED, report=make_report(log=make_log(attempt=6))), (7, POINT)),
    "a rollback whose checkpoint is not pinned yet": (seen_with(rollback=ASKED, report=keeping()), (1, LATEST)),
    "a rollback whose checkpoint is pinned": (seen_with(rollback=ASKED, report=keeping(asked=KEEP, found=True)), (2, POINT)),
    "a rollback whose checkpoint is pinned, though the list leaves it out": (
        seen_with(rollback=ASKED, report=keeping(asked=KEEP, found=True, checkpoints=(200,))),
        (2, POINT),
    ),
    "another request's checkpoint is pinned": (
        seen_with(rollback=ASKED, report=keeping(asked=Keep(step=100, request="before"), found=True)),
        (1, LATEST),
    ),
    "a rollback whose checkpoint is gone": (seen_with(rollback=ASKED, report=keeping(asked=KEEP)), (1, LATEST)),
    "a rollback that nobody has heard of": (
        make_seen(make_job(make_status(checkpoints=(100,)), rollback=ASKED), report=None),
        (1, LATEST),
    ),
    "a rollback that has begun": (seen_with(make_status(attempt=2, restore=POINT), rollback=ASKED), (2, POINT)),
    "a rollback that is done": (seen_with(make_status(last_rollback_request="again"), rollback=ASKED), (1, LATEST)),
    "an unknown step": (seen_with(rollback=ASKED | {"toStep": 150}), (1, LATEST)),
    "all state is lost": (seen_with(report=make_report(state_lost=True)), (2, LATEST)),
    "it was an older attempt's state": (seen_with(make_status(attempt=2, opened_attempt=2), make_report(state_lost=True)), (2, LATEST)),
    "state lost in a rollback's attempt": (
        seen_with(make_status(attempt=2, restore=POINT), make_report(attempt=2, state_lost=True), rollback=ASKED),
        (3, POINT),
    ),
    "state lost after the rollback": (
        seen_with(
            make_status(attempt=2, opened_attempt=2, restore=POINT, last_rollback_request="again"),
            make_report(attempt=2, state_lost=True, log=make_log(attempt=2)),
            rollback=ASKED,
        ),
        (3, LATEST),
    ),
    "the log is ahead": (seen_with(report=make_report(log=make_log(attempt=4))), (5, LATEST)),
    "the log has this attempt, but it is not ours": (
        seen_with(FRESH, make_report(generation=None, step=None, log=make_log(attempt=1, opened_attempt=0))),
        (2, LATEST),
    ),
    "the log has this attempt, and we opened it": (seen_with(FRESH, make_report(log=make_log(attempt=1, opened_attempt=1))), (1, LATEST)),
    "its opener has gone, but we remember": (seen_with(report=make_report(log=make_log(opened_attempt=0))), (1, LATEST)),
    "an older epoch's report": (seen_with(make_status(rendezvous={"epoch": 2}), make_report(state_lost=True)), (1, LATEST)),
}


@pytest.mark.parametrize(("seen", "expected"), ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_attempt(seen: Observed, expected: tuple[int, RestorePoint]) -> None:
    assert attempt_of(seen) == expected


def test_no_report_can_raise_the_attempt_beyond_bounds() -> None:
    assert attempt_of(seen_with(report=make_report(log=make_log(attempt=10**14))))[0] == 2**31


def test_a_rollback_is_done_when_the_log_carries_its_request() -> None:
    status = make_status(attempt=2, restore=POINT)
    before = seen_with(status, make_report(attempt=2), rollback=ASKED)
    after = seen_with(status, make_report(attempt=2, log=make_log(attempt=2, request="again")), rollback=ASKED)
    assert (rollback.done(before), rollback.done(after)) == (None, "again")


def test_an_unknown_step_is_answered_with_the_known_ones_and_done_with() -> None:
    seen = seen_with(rollback=ASKED | {"toStep": 150})
    assert rollback.refusal(seen) == (
        "rollback.toStep: there is no checkpoint of step 150; there are: 100, 200. Ask again with a new request"
    )
    assert rollback.done(seen) == "again"


def test_a_job_that_failed_in_a_rollback_is_not_woken_by_it_again() -> None:
    status = make_status(restore=POINT, checkpoints=(100,), conditions=(make_condition("Failed"),))
    assert rollback.revival(make_seen(make_job(status, rollback=ASKED), report=None)) is None


def test_a_job_that_was_completed_before_its_rollback_began_is_woken() -> None:
    status = make_status(attempt=2, restore=POINT, checkpoints=(100,), conditions=(make_condition("Complete"),))
    assert rollback.revival(make_seen(make_job(status, rollback=ASKED), report=None)) == POINT


def test_a_worker_is_asked_to_keep_the_checkpoint_until_an_attempt_carries_the_request() -> None:
    asked = seen_with(rollback=ASKED, report=keeping())
    intent = plan(asked, SETTINGS, NOW).intent
    assert intent is not None
    assert intent.keep == rollback.keep(asked) == KEEP
    assert rollback.keep(seen_with(make_status(attempt=2, restore=POINT), rollback=ASKED)) is None
    assert rollback.keep(seen_with(make_status(last_rollback_request="again"), rollback=ASKED)) is None
    assert rollback.keep(seen_with()) is None


def test_a_checkpoint_that_is_gone_is_answered_before_anything_stops() -> None:
    waiting, gone = (seen_with(rollback=ASKED, report=report) for report in (keeping(), keeping(asked=KEEP, checkpoints=(200,))))
    assert (rollback.refusal(waiting), rollback.done(waiting)) == ("", None)
    assert rollback.refusal(gone) == "rollback.toStep: there is no checkpoint of step 100; there are: 200. Ask again with a new request"
    assert rollback.done(gone) == "again"


def test_a_checkpoint_that_was_lost_on_the_way_ends_the_rollback_and_not_the_job() -> None:
    report = make_report(attempt=2, generation=GenerationId(2, 1, 3), log=make_log(attempt=2, opened_attempt=2, missing_request="again"))
    seen = seen_with(make_status(attempt=2, restore=POINT), report, rollback=ASKED)
    decided = plan(seen, SETTINGS, NOW)
    condition = decided.status.condition("RolledBack")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "RollbackRefused")
    assert condition.message.startswith("rollback.toStep: checkpoint 100 was lost before the job could go back to it; training went on")
    assert [event.reason for event in decided.events if event.reason.startswith("Roll")] == ["RollbackRefused"]
    assert (decided.status.last_rollback_request, decided.status.phase, decided.status.attempt) == ("again", "Running", 2)
    assert rollback.kept(seen, Wanted.of(seen.job.status)) == RestorePoint()
    written = seen_with(decided.status, report, rollback=ASKED)
    again = plan(written, SETTINGS, NOW)
    assert (again.status, again.events) == (decided.status, ())
