"""Which course a job takes: validity, ends, deadline, suspension, and their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from operator_builders import (
    CREATED,
    NOW,
    SETTINGS,
    make_condition,
    make_failed,
    make_job,
    make_log,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Status, StopRecord
from trainingjob_operator.controllers.training_job.children.pinned import pin
from trainingjob_operator.controllers.training_job.policy import Course, Decision, decide
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase

STOP = StopRecord(request="suspend-2", time=NOW, reason="Suspend")
SUSPENDED = make_status(phase="Suspended", conditions=(make_condition("Suspended"),), stop=STOP)
COMPLETE = make_status(phase="Succeeded", conditions=(make_condition("Complete", reason="Succeeded"),), checkpoints=(100, 200))
FAILED = make_status(phase="Failed", conditions=(make_condition("Failed", reason="TooManyFailures"),), checkpoints=(100, 200))
ROLLBACK = {"toStep": 100, "request": "again"}


def decided(seen: Observed, **ledger: float) -> Decision:
    return decide(seen, SETTINGS, ledger, NOW)


def job(status: Status | None = None, **fields: Any) -> TrainingJob:
    return make_job(status or make_status(), **fields)


DONE = make_report(log=make_log(done=True))
GPUS = {"replicas": 3, "gpus": 1, "template": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}
BY_ITSELF = {"training": {"script": {"command": ["deepspeed", "train.py"]}}}

COURSES = {
    "a healthy job goes on": (make_seen(), Course.RUNNING),
    "a deleted job is left alone": (make_seen(job(deletionTimestamp=NOW)), Course.IGNORED),
    "deletion comes before an end": (make_seen(job(deletionTimestamp=NOW), report=DONE), Course.IGNORED),
    "another controller's job is left alone": (make_seen(job(managedBy="kueue.x-k8s.io/multikueue")), Course.IGNORED),
    "an unreadable manifest is invalid": (make_seen(problem="spec.training: Field required"), Course.INVALID),
    "GPUs asked for twice are invalid": (make_seen(job(workers=GPUS)), Course.INVALID),
    "a new job's launcher that would train in each worker by itself is invalid": (
        make_seen(make_job(**BY_ITSELF), pods=(), report=None),
        Course.INVALID,
    ),
    "one that runs already goes on with it": (make_seen(job(**BY_ITSELF)), Course.RUNNING),
    "so does one whose status is lost": (make_seen(make_job(**BY_ITSELF), report=None), Course.RUNNING),
    "and a suspended one": (make_seen(job(SUSPENDED, **BY_ITSELF), pods=(), report=None), Course.RUNNING),
    "done in the log ends the job": (make_seen(report=DONE), Course.ENDED),
    "done in a worker's last words ends the job": (make_seen(pods=(make_failed(0, 0, done=True),), report=None), Course.ENDED),
    "last words of an old incarnation do not": (
        make_seen(pods=(make_failed(0, 0, done=True, incarnation=7), *(make_pod(index) for index in range(3)), make_rendezvous())),
        Course.RUNNING,
    ),
    "an end comes before a suspension": (make_seen(job(suspend=True), report=DONE), Course.ENDED),
    "an end stays an end": (make_seen(job(COMPLETE), pods=(), report=None), Course.ENDED),
    "a suspension stops first": (make_seen(job(suspend=True)), Course.STOPPING),
    "a suspension ends when all have left": (
        make_seen(job(make_status(stop=STOP), suspend=True), report=make_report(stopped="suspend-2")),
        Course.SUSPENDED,
    ),
    "another request's end is not this one's": (
        make_seen(job(make_status(stop=STOP), suspend=True), report=make_report(stopped="suspend-1")),
        Course.STOPPING,
    ),
    "a suspension ends when no worker runs": (
        make_seen(job(make_status(stop=STOP), suspend=True), pods=(make_failed(0, 0), make_rendezvous()), report=None),
        Course.SUSPENDED,
    ),
    "a suspension ends in time": (
        make_seen(job(make_status(stop=STOP.model_copy(update={"time": NOW - timedelta(seconds=120)})), suspend=True)),
        Course.SUSPENDED,
    ),
    "a stop is carried through though the user thinks again": (make_seen(job(make_status(stop=STOP))), Course.STOPPING),
    "a suspended job stays suspended": (make_seen(job(SUSPENDED, suspend=True), pods=(), report=None), Course.SUSPENDED),
    "a suspended job goes on": (make_seen(job(SUSPENDED), pods=(), report=None), Course.RUNNING),
    "suspended at creation, nothing is made": (make_seen(make_job(suspend=True), pods=(), report=None), Course.SUSPENDED),
    "a rollback wakes a finished job": (make_seen(job(COMPLETE, rollback=ROLLBACK), pods=(), report=None), Course.RUNNING),
    "and a failed one": (make_seen(job(FAILED, rollback=ROLLBACK), pods=(), report=None), Course.RUNNING),
    "but not while it is suspended": (make_seen(job(COMPLETE, rollback=ROLLBACK, suspend=True), pods=(), report=None), Course.ENDED),
    "nor one for a step that is not there": (
        make_seen(job(COMPLETE, rollback=ROLLBACK | {"toStep": 150}), pods=(), report=None),
        Course.ENDED,
    ),
}


def told(**length: int) -> TrainingJob:
    """A complete job whose last life was told this length; 200 steps were taken."""
    return job(COMPLETE.model_copy(update={"total_steps": 200}), training=training(**length))


def training(**length: int) -> dict[str, Any]:
    return {"task": {"class": "a:B"}, **length}


EXTENSIONS = {
    "the same epochs": ({"epochs": 4}, {"epochs": 4}, False),
    "fewer epochs": ({"epochs": 4}, {"epochs": 3}, False),
    "more epochs": ({"epochs": 4}, {"epochs": 6}, True),
    "more steps": ({"steps": 200}, {"steps": 201}, True),
    "fewer steps": ({"steps": 200}, {"steps": 100}, False),
    "more steps than the epochs were": ({"epochs": 4}, {"steps": 300}, True),
    "no more steps than the epochs were": ({"epochs": 4}, {"steps": 200}, False),
}


@pytest.mark.parametrize(("before", "after", "wakes"), EXTENSIONS.values(), ids=EXTENSIONS.keys())
def test_a_complete_job_trains_further_when_it_is_to_be_longer(before: dict[str, int], after: dict[str, int], wakes: bool) -> None:
    pinned = pin(make_seen(told(**before)), SETTINGS)
    seen = make_seen(told(**after), pods=(), report=None, pinned=pinned)
    assert decided(seen).course is (Course.RUNNING if wakes else Course.ENDED)
    asleep = replace(seen, job=seen.job.model_copy(update={"spec": seen.job.spec.model_copy(update={"suspend": True})}))
    assert decided(asleep).course is Course.ENDED


def test_a_longer_job_begins_a_new_attempt_from_its_last_checkpoint_with_new_pods_and_the_old_done_does_not_end_it() -> None:
    pinned = pin(make_seen(told(epochs=4)), SETTINGS)
    wanted = decided(make_seen(told(epochs=6), pods=(), report=None, pinned=pinned)).wanted
    assert (wanted.attempt, wanted.epoch, wanted.restore.kind) == (2, 2, "Latest")
    assert wanted.incarnations == ((0, 1), (1, 1), (2, 1))
    running = make_status(attempt=2, rendezvous={"epoch": 2, "seen": True})
    old = make_report(epoch=2, log=make_log(done=True, attempt=1))
    assert decided(make_seen(job(running), report=old)).course is Course.RUNNING
    assert decided(make_seen(job(running), report=make_report(epoch=2, log=make_log(done=True, attempt=2)))).course is Course.ENDED


def test_a_failed_job_is_not_woken_by_more_epochs() -> None:
    pinned = pin(make_seen(told(epochs=4)), SETTINGS)
    assert decided(make_seen(job(FAILED, training=training(epochs=6)), pods=(), report=None, pinned=pinned)).course is Course.ENDED


@pytest.mark.parametrize(("seen", "course"), COURSES.values(), ids=COURSES.keys())
def test_course(seen: Observed, course: Course) -> None:
    assert decided(seen).course is course


def test_a_deadline_ends_the_job_and_comes_before_a_suspension() -> None:
    decision = decided(make_seen(job(activeDeadlineSeconds=600, suspend=True)), Training=500.0, Starting=100.0)
    assert decision.outcome is not None
    assert (decision.course, decision.outcome.reason) == (Course.ENDED, Reason.DEADLINE_EXCEEDED)


def test_the_deadlines_clock_stands_while_the_job_is_suspended() -> None:
    assert decided(make_seen(job(activeDeadlineSeconds=600)), Training=500.0, Suspended=5000.0).course is Course.RUNNING


def test_done_of_the_attempt_before_a_rollback_ends_nothing() -> None:
    status = make_status(attempt=2, restore={"kind": "Step", "step": 100, "request": "again"})
    assert decided(make_seen(job(status, rollback=ROLLBACK), report=DONE)).course is Course.RUNNING


def test_the_stop_carries_the_generation_in_its_name() -> None:
    stop = decided(make_seen(job(suspend=True, generation=7))).wanted.stop
    assert stop == StopRecord(request="suspend-7", time=NOW, reason="Suspend")


def test_a_first_start_is_above_whatever_pods_are_there() -> None:
    """A lost status does no harm."""
    wanted = decided(make_seen(make_job(), pods=(make_pod(1, 4), make_rendezvous(6)), report=None)).wanted
    assert (wanted.attempt, wanted.epoch, wanted.incarnations) == (1, 7, ((0, 1), (1, 5), (2, 1)))


def test_nothing_is_made_where_all_is_being_deleted() -> None:
    decision = decided(make_seen(job(make_status()), pods=(make_failed(1),), closing=True))
    assert (decision.course, decision.wanted.incarnations) == (Course.IGNORED, ((0, 0), (1, 0), (2, 0)))


def test_a_job_goes_on_after_a_suspension_with_everything_new() -> None:
    wanted = decided(make_seen(job(SUSPENDED), pods=(), report=None)).wanted
    assert (wanted.attempt, wanted.epoch, wanted.stop) == (2, 2, None)
    assert wanted.incarnations == ((0, 1), (1, 1), (2, 1))
    assert wanted.unseen == {0, 1, 2}
    assert wanted.restore.kind == "Latest"


def test_a_rollback_asked_for_while_suspended_is_carried_by_the_resume() -> None:
    status = SUSPENDED.model_copy(update={"checkpoints": (100, 200)})
    wanted = decided(make_seen(job(status, rollback=ROLLBACK), pods=(), report=None)).wanted
    assert (wanted.attempt, wanted.restore.kind, wanted.restore.step, wanted.restore.request) == (2, "Step", 100, "again")


def test_a_waking_job_has_its_failures_forgiven() -> None:
    status = FAILED.model_copy(update={"failures": 6, "completion_time": CREATED})
    assert decided(make_seen(job(status, rollback=ROLLBACK), pods=(), report=None)).tally.failures == 0


def test_no_worker_is_replaced_while_a_job_stops() -> None:
    seen = make_seen(job(make_status(stop=STOP), suspend=True), pods=(make_pod(0), make_failed(1), make_rendezvous()))
    assert decided(seen).wanted.incarnations == ((0, 0), (1, 0), (2, 0))


def test_the_gpu_message_names_field_and_fix() -> None:
    assert decided(make_seen(job(workers=GPUS))).problem == (
        "spec.workers.template.resources.limits: nvidia.com/gpu is set by workers.gpus; remove one of them"
    )


def test_the_launcher_s_message_names_field_and_fix() -> None:
    assert decided(make_seen(make_job(**BY_ITSELF), pods=(), report=None)).problem.startswith(
        "spec.training.script.command: deepspeed would train in each of the 3 processes by itself; write [python, train.py]: "
    )


def test_a_pending_pod_is_no_loss() -> None:
    seen = make_seen(pods=(make_pod(0, phase=PodPhase.PENDING), make_pod(1), make_pod(2), make_rendezvous()))
    assert decided(seen).wanted.incarnations == ((0, 0), (1, 0), (2, 0))
