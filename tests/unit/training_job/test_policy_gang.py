"""A job of which too few workers run for too long gives its pods back, and asks again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operator_builders import (
    ADDRESS,
    NOW,
    SETTINGS,
    make_condition,
    make_job,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import PlacementRecord, Status, StopRecord
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.policy import Course, Decision, decide
from trainingjob_operator.controllers.training_job.policy.gang import pause
from trainingjob_operator.controllers.training_job.state import Observed, Plan, PodPhase

LONG_AGO = NOW - timedelta(seconds=600)
SHORT = PlacementRecord(short_since=LONG_AGO)
STOP = StopRecord(request="release-1-1", time=NOW, reason="PodsReleased", message="fewer than workers.minReplicas (2) ran")
AGAIN = NOW + timedelta(seconds=60)
RELEASED = make_status(phase="Pending", stop=STOP, placement=PlacementRecord(releases=2, retry_time=AGAIN), observed_generation=1)
HALF = (make_pod(0), make_pod(1, phase=PodPhase.PENDING, reason="Unschedulable"), make_pod(2, phase=PodPhase.PENDING), make_rendezvous())
WAITING = make_report(generation=None, stage="Over", world=0, step=None, members=(), log=None)


def half_placed(status: Status | None = None, **spec: Any) -> Observed:
    """One of three workers runs; two would do."""
    return make_seen(make_job(status or make_status(placement=SHORT), **spec), pods=HALF, report=WAITING)


def decided(seen: Observed, now: datetime = NOW) -> Decision:
    return decide(seen, SETTINGS, {}, now)


def written(seen: Observed, done: Plan) -> TrainingJob:
    return seen.job.model_copy(update={"status": done.status})


def test_from_the_first_pod_on_it_is_noted_that_too_few_run() -> None:
    first = decided(half_placed(make_status()))
    assert (first.course, first.wanted.placement) == (Course.RUNNING, PlacementRecord(short_since=NOW))
    later = decided(half_placed(make_status(placement=first.wanted.placement)), NOW + timedelta(seconds=599))
    assert (later.course, later.wanted.placement) == (Course.RUNNING, PlacementRecord(short_since=NOW))


def test_pods_that_have_just_been_made_are_not_noted_yet() -> None:
    pods = (make_pod(0), *(make_pod(index, phase=PodPhase.PENDING, created=NOW) for index in (1, 2)), make_rendezvous())
    seen = make_seen(make_job(make_status()), pods=pods, report=WAITING)
    assert decided(seen, NOW + timedelta(seconds=4)).wanted.placement is None
    later = NOW + timedelta(seconds=5)
    assert decided(seen, later).wanted.placement == PlacementRecord(short_since=later)
    one_is_missing = make_seen(make_job(make_status(unseen=(1, 2))), pods=(make_pod(0), make_rendezvous()), report=WAITING)
    assert decided(one_is_missing).wanted.placement == PlacementRecord(short_since=NOW)
    minute = PlacementRecord(short_since=NOW - timedelta(seconds=60))
    noted = make_seen(make_job(make_status(placement=minute)), pods=pods, report=WAITING)
    assert decided(noted).wanted.placement == minute, "what was noted stays"


def test_a_job_without_pods_holds_nothing_and_may_wait_for_ever() -> None:
    none = make_seen(make_job(make_status(placement=SHORT, unseen=(0, 1, 2))), pods=(make_rendezvous(),), report=WAITING)
    assert (decided(none).course, decided(none).wanted.placement) == (Course.RUNNING, None)


def test_it_is_over_once_enough_run() -> None:
    pods = (make_pod(0), make_pod(1), make_pod(2, phase=PodPhase.PENDING), make_rendezvous())
    waits = decided(make_seen(make_job(make_status(placement=SHORT)), pods=pods, report=WAITING))
    assert (waits.course, waits.wanted.placement) == (Course.RUNNING, None)


def test_after_startup_timeout_seconds_it_stops_and_says_why() -> None:
    held = make_condition("Waiting", reason="PodsWaiting", message="worker-1: Unschedulable: 0/2 nodes have nvidia.com/gpu")
    seen = half_placed(make_status(placement=SHORT, conditions=(held,)))
    first = plan(seen, SETTINGS, NOW)
    assert first.is_first_half()
    stop = first.status.stop
    assert stop is not None
    assert (stop.request, stop.reason) == ("release-1-1", "PodsReleased")
    assert stop.message == (
        "fewer than workers.minReplicas (2) ran for recovery.startupTimeoutSeconds (600): "
        "worker-1: Unschedulable: 0/2 nodes have nvidia.com/gpu"
    )
    assert [(event.type, event.reason) for event in first.events] == [("Warning", "PodsReleased")]
    second = plan(half_placed(first.status), SETTINGS, NOW)
    assert second.intent is not None
    assert second.intent.stop is not None
    assert second.intent.stop.save
    assert second.events == ()


def test_the_pods_go_once_it_has_stopped_and_the_next_try_is_in_the_status_before() -> None:
    report = WAITING.model_copy(update={"stopped": STOP.request})
    seen = make_seen(make_job(make_status(placement=SHORT, stop=STOP)), pods=HALF, report=report)
    first = plan(seen, SETTINGS, NOW)
    assert first.is_first_half()
    record = first.status.placement
    assert record is not None
    assert record.retry_time is not None
    assert (record.releases, record.short_since) == (1, None)
    assert 30 <= (record.retry_time - NOW).total_seconds() < 90
    second = plan(Observed(job=written(seen, first), pods=HALF, rendezvous_address=ADDRESS), SETTINGS, NOW)
    assert {deletion.name for deletion in second.delete} == {pod.name for pod in HALF}
    assert (second.create, second.intent, second.events) == ((), None, ())
    assert second.requeue_after == pytest.approx((record.retry_time - NOW).total_seconds())
    waits = second.status.condition("Waiting")
    assert waits is not None
    assert (waits.status, waits.reason) == ("True", "PodsReleased")
    assert f"asked for again at {record.retry_time:%H:%M:%S} UTC" in waits.message


def test_pods_that_never_ran_are_given_back_at_once() -> None:
    pods = (*(make_pod(index, phase=PodPhase.PENDING) for index in range(3)), make_rendezvous(phase=PodPhase.PENDING))
    seen = make_seen(make_job(make_status(placement=SHORT, stop=STOP)), pods=pods, report=None, reporting=False)
    assert decided(seen).course is Course.RELEASED


def test_it_asks_again_in_time_with_everything_new() -> None:
    seen = Observed(job=make_job(RELEASED))
    assert decided(seen, AGAIN - timedelta(seconds=1)).course is Course.RELEASED
    again = decided(seen, AGAIN)
    assert (again.course, again.anew) == (Course.RUNNING, False)
    assert (again.wanted.attempt, again.wanted.epoch, again.wanted.stop) == (2, 2, None)
    assert again.wanted.incarnations == ((0, 1), (1, 1), (2, 1))
    assert again.wanted.placement == PlacementRecord(releases=2)
    assert [event.reason for event in plan(seen, SETTINGS, AGAIN).events] == ["NewAttempt"]


def test_failures_are_not_forgiven_by_a_release() -> None:
    status = RELEASED.model_copy(update={"failures": 3, "reported_failures": 4})
    again = plan(Observed(job=make_job(status)), SETTINGS, AGAIN).status
    assert (again.failures, again.reported_failures) == (3, 0)


def test_a_changed_manifest_asks_again_at_once() -> None:
    assert decided(Observed(job=make_job(RELEASED, generation=2))).course is Course.RUNNING


def test_suspended_in_the_pause_it_stays_away_until_it_is_wanted() -> None:
    asleep = decided(Observed(job=make_job(RELEASED, suspend=True)), AGAIN)
    assert (asleep.course, asleep.wanted.placement) == (Course.SUSPENDED, None)


def test_the_deadlines_clock_goes_on_in_the_pause() -> None:
    seen = Observed(job=make_job(RELEASED, activeDeadlineSeconds=660))
    assert decide(seen, SETTINGS, {"Starting": 659.0}, NOW).course is Course.RELEASED
    assert plan(seen, SETTINGS, RELEASED.ledger_mark or NOW).requeue_after == pytest.approx(60.0)
    assert decide(seen, SETTINGS, {"Starting": 660.0}, NOW).course is Course.ENDED


def test_a_rollback_is_carried_by_the_next_try() -> None:
    status = RELEASED.model_copy(update={"checkpoints": (100, 200)})
    seen = Observed(job=make_job(status, generation=2, rollback={"toStep": 100, "request": "again"}))
    assert decided(seen).wanted.restore.step == 100


def test_training_that_fell_below_saves_and_waits_as_well() -> None:
    lost = make_seen(make_job(make_status(placement=SHORT)), pods=HALF, report=make_report(stage="Over", generation=None))
    assert plan(lost, SETTINGS, NOW).status.stop is not None
    assert decided(Observed(job=make_job(RELEASED))).course is Course.RELEASED
    assert plan(Observed(job=make_job(RELEASED)), SETTINGS, NOW).status.phase == "Recovering"


def test_spares_are_asked_for_only_once_enough_of_the_others_run() -> None:
    workers = {"replicas": 2, "minReplicas": 2, "spares": 1}
    status = make_status(unseen=(2,))

    def made(*pods: Any) -> list[str]:
        seen = make_seen(make_job(status, workers=workers), pods=(*pods, make_rendezvous()), report=WAITING)
        names = [manifest["metadata"]["name"] for manifest in plan(seen, SETTINGS, NOW).create if manifest["kind"] == "Pod"]
        return [name.partition("-worker-")[2] for name in names]

    assert made(make_pod(0), make_pod(1, phase=PodPhase.PENDING)) == []
    assert made(make_pod(0), make_pod(1)) == ["2-0"]


@settings(deadline=None)
@given(st.integers(1, 86400), st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_have_a_bound(timeout: int, releases: int, jitter: float) -> None:
    now, next_one = pause(timeout, releases, jitter), pause(timeout, releases + 1, jitter)
    assert 0.05 * timeout <= now <= next_one <= 1.5 * timeout
    assert releases > 3 or next_one == pytest.approx(2 * now)


def test_two_jobs_ask_again_at_different_times() -> None:
    pauses = set()
    for number in range(20):
        job = make_job(make_status(placement=SHORT, stop=STOP))
        job = job.model_copy(update={"metadata": job.metadata.model_copy(update={"uid": f"uid-{number}"})})
        record = decided(make_seen(job, pods=(), report=None)).wanted.placement
        assert record is not None
        assert record.retry_time is not None
        pauses.add(round((record.retry_time - NOW).total_seconds()))
    assert len(pauses) > 10
