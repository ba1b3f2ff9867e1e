"""Children come before the status that names them where no successor would take their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from operator_builders import (
    NOW,
    SETTINGS,
    UID,
    make_failed,
    make_job,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.contract.intent import MemberView
from trainingjob_api.status import StopRecord
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.policy import suspend
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed, Pod


def test_a_first_start_creates_everything_in_one_pass_and_its_status_names_what_was_created() -> None:
    first = plan(Observed(job=make_job(), children_first=True, inherited=True), SETTINGS, NOW)

    assert [manifest["kind"] for manifest in first.create] == [
        "ControllerRevision",
        "Secret",
        "NetworkPolicy",
        "Service",
        "Pod",
        "Pod",
        "Pod",
        "Pod",
    ]
    assert first.children_first
    assert (first.status.attempt, first.status.rendezvous.epoch, first.status.unseen) == (1, 1, (0, 1, 2))


def test_a_start_that_finds_an_object_without_a_status_begins_above_it_and_says_so_first() -> None:
    objects = frozenset({("ControllerRevision", "digits-1")})
    first = plan(Observed(job=make_job(), objects=objects, children_first=True, inherited=True), SETTINGS, NOW)

    assert first.is_first_half()
    assert first.status.rendezvous.epoch == 2
    assert {worker.incarnation for worker in first.status.workers} == {1}


@pytest.mark.parametrize(
    ("pods", "inherited", "incarnation", "at_once"),
    [
        pytest.param((make_failed(1),), False, 1, True, id="its pod failed"),
        pytest.param((), False, 1, True, id="its pod is gone"),
        pytest.param((make_failed(1),), True, 2, False, id="an operator before this one may have made the next"),
        pytest.param((make_failed(1), make_pod(1, 1)), True, 1, False, id="it has made the next"),
        pytest.param((make_pod(1, reason=NODE_LOST, message="lost"),), False, 1, False, id="its node may come back"),
    ],
)
def test_a_replacement_is_created_before_the_status_where_a_successor_would_not_take_its_name(
    pods: tuple[Pod, ...], inherited: bool, incarnation: int, at_once: bool
) -> None:
    members = tuple(MemberView(worker=index, incarnation=0, phase="Stepping", step=240) for index in (0, 2))
    living = (make_pod(0), make_pod(2), make_rendezvous())
    seen = make_seen(pods=(*living, *pods), report=make_report(members=members), children_first=True, inherited=inherited)

    found = plan(seen, SETTINGS, NOW)

    assert found.status.workers[1].incarnation == incarnation
    assert found.children_first is at_once
    assert [manifest["metadata"]["name"] for manifest in found.create if "worker-1-" in manifest["metadata"]["name"]] == (
        [names.worker("digits", UID, 1, 1)] if at_once else []
    )


def test_a_stop_that_another_operator_takes_over_waits_for_pods_that_save_while_they_go() -> None:
    stop = StopRecord(request="suspend-1", time=NOW, reason="Suspend")
    job = make_job(make_status(stop=stop), suspend=True)
    pods = (*(make_pod(index, deleting=True) for index in range(3)), make_rendezvous())
    seen = make_seen(job, pods=pods, children_first=True, inherited=True)

    first = plan(seen, SETTINGS, NOW)
    then = plan(replace(seen, job=job.model_copy(update={"status": first.status}), inherited=False), SETTINGS, NOW)

    assert (first.status.phase, then.status.phase) == ("Suspending", "Suspending")
    assert then.intent is not None
    assert then.intent.stop is not None


def test_a_number_that_a_stopping_job_leaves_out_is_not_taken_after_it() -> None:
    stop = StopRecord(request="suspend-1", time=NOW, reason="Suspend")
    job = make_job(make_status(stop=stop), suspend=True)
    pods = (make_pod(0), make_pod(1), make_failed(2), make_rendezvous())

    first = plan(make_seen(job, pods=pods, children_first=True, inherited=True), SETTINGS, NOW)

    assert [worker.incarnation for worker in first.status.workers] == [0, 0, 1]
    wanted = suspend.restarted(make_seen(job.model_copy(update={"status": first.status}), pods=()), Wanted.of(first.status))
    assert dict(wanted.incarnations)[2] == 2
