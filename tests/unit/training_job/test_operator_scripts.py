"""What is said and done about a job that runs a script: it runs exactly while its processes do, and nothing is claimed of its steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from operator_builders import (
    NOW,
    SETTINGS,
    make_failed,
    make_failure,
    make_job,
    make_log,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.contract.intent import MemberView
from trainingjob_api.status import Status, StopRecord
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.policy.suspend import limit_seconds
from trainingjob_operator.controllers.training_job.state import Observed, Plan
from trainingjob_operator.controllers.training_job.status.next import ledger_now
from trainingjob_operator.controllers.training_job.status.script import stopped_words

SCRIPT: dict[str, Any] = {"training": {"script": {"command": ["python", "train.py"]}}}
NOTHING_YET = make_status(phase="Starting", ledger={"Starting": 60.0})


def members(*phases: str) -> tuple[MemberView, ...]:
    return tuple(MemberView(worker=index, incarnation=0, phase=phase) for index, phase in enumerate(phases))


def script(*phases: str, status: Status | None = None, workers: dict[str, Any] | None = None, **report: Any) -> Observed:
    """A job of three workers whose script stands so on each."""
    job = make_job(status or make_status(), **SCRIPT, **({"workers": workers} if workers else {}))
    fields: dict[str, Any] = {
        "members": members(*phases),
        "step": None,
        "total_steps": 0,
        "loss": None,
        "samples_per_second": 0.0,
        "log": make_log(checkpoint=None, checkpoints=()),
    }
    return make_seen(job, report=make_report(**fields | report))


def passed(seen: Observed, seconds: float = 0.0) -> Plan:
    return plan(seen, SETTINGS, NOW + timedelta(seconds=seconds))


def ready(status: Status) -> tuple[str, str]:
    condition = status.condition("Ready")
    assert condition is not None
    return condition.status, condition.message


class TestLaunchers:
    """A launcher that would train in each worker by itself."""

    WORDS = "spec.workers.processesPerWorker: would start 2 torchruns in each worker; set it to 1"
    FIELDS: ClassVar[dict[str, Any]] = {
        "training": {"script": {"command": ["torchrun", "train.py"]}},
        "workers": {"replicas": 3, "processesPerWorker": 2},
    }

    def test_a_new_job_is_told_and_nothing_is_made(self) -> None:
        found = passed(make_seen(make_job(**self.FIELDS), pods=(), report=None))
        assert (found.create, found.status.attempt) == ((), 0)
        valid = found.status.condition("Valid")
        assert valid is not None
        assert (valid.status, valid.reason, valid.message.startswith(self.WORDS)) == ("False", "Invalid", True)

    def test_of_a_job_that_runs_a_lost_worker_is_replaced(self) -> None:
        seen = make_seen(make_job(make_status(), **self.FIELDS), pods=(make_pod(0), make_pod(1), make_failed(2), make_rendezvous()))
        found = passed(seen).status
        valid = found.condition("Valid")
        assert valid is not None
        assert (valid.status, found.workers[2].incarnation) == ("True", 1)


class TestRunning:
    def test_it_runs_and_is_ready_while_its_processes_run_though_no_step_is_known(self) -> None:
        status = passed(script("Stepping", "Stepping", "Stepping", status=NOTHING_YET)).status
        assert (status.phase, status.display.workers, status.display.step) == ("Running", "3/3", "")
        assert ready(status) == ("True", "the script runs on 3 of 3 workers")

    def test_it_runs_until_the_last_of_them_has_ended(self) -> None:
        assert passed(script("Finishing", "Stepping", "Finishing")).status.phase == "Running"

    @pytest.mark.parametrize(
        ("before", "report", "phase"),
        [
            (NOTHING_YET, {"members": members("Restoring", "Restoring", "Restoring")}, "Starting"),
            (make_status(), {"members": members("Starting", "Idle", "Idle"), "stage": "Over", "world": 0, "step": 0}, "Recovering"),
            (make_status(), {"members": members("Formed", "Formed", "Formed"), "stage": "Proposed", "world": 0, "step": 0}, "Recovering"),
            (make_status(), {"members": members("Restoring", "Restoring", "Restoring"), "step": 0}, "Recovering"),
        ],
        ids=["its attempt is opened", "it waits to be started again", "its workers agree", "it is about to be started"],
    )
    def test_it_does_not_run_while_no_process_of_it_does(self, before: Status, report: dict[str, Any], phase: str) -> None:
        status = passed(script(status=before, **report)).status
        assert (status.phase, ready(status)) == (phase, ("False", "the script does not run"))

    def test_its_time_is_no_training_and_counts_as_running_only_while_its_processes_run(self) -> None:
        ledger = {"Starting": 60.0, "Running": 540.0}
        waiting = script("Starting", "Idle", "Idle", status=make_status(phase="Recovering", ledger=ledger), stage="Over", world=0, step=0)
        assert passed(waiting, 30.0).status.ledger == ledger | {"Recovering": 30.0}
        assert passed(script("Stepping", "Stepping", "Stepping", status=make_status(ledger=ledger)), 30.0).status.ledger["Running"] == 570.0

    def test_one_that_hangs_claims_no_steps_no_rate_and_no_goodput(self) -> None:
        """Nothing tells `sleep inf` from training."""
        seen = script("Stepping", "Stepping", "Stepping", status=NOTHING_YET, samples_per_second=0.0)
        for seconds in (1.0, 3600.0):
            status = passed(seen, seconds).status
            condition = status.condition("Ready")
            assert condition is not None
            assert (status.phase, condition.reason, condition.message) == ("Running", "ScriptRuns", "the script runs on 3 of 3 workers")
            assert (status.step, status.samples_per_second, status.goodput, status.display.progress) == (None, None, "", "")
            assert "Training" not in status.ledger
            seen = replace(seen, job=seen.job.model_copy(update={"status": status}))
        assert ledger_now(seen, NOW + timedelta(seconds=3600)) == {"Starting": 61.0, "Running": 3599.0}

    def test_of_one_that_is_not_heard_it_is_not_known_whether_it_runs(self) -> None:
        status = make_status(ledger={"Starting": 60.0, "Running": 540.0}, goodput="90%")
        found = passed(replace(script("Stepping", status=status), reporting=False, unheard_seconds=20.0), 20.0).status
        assert (found.phase, found.goodput) == ("Unknown", "")
        assert found.ledger == {"Starting": 60.0, "Running": 540.0, "Unknown": 20.0}

    def test_after_a_loss_it_recovers(self) -> None:
        status = make_status(ledger={"Starting": 60.0, "Running": 540.0})
        assert passed(script("Starting", "Idle", "Idle", status=status, stage="Over", world=0)).status.phase == "Recovering"

    def test_the_step_of_a_script_that_was_started_again_is_not_shown_as_one(self) -> None:
        status = passed(script("Stepping", "Stepping", "Stepping", step=0)).status
        assert (status.step, status.display.step, status.display.progress) == (None, "", "")

    def test_a_new_attempt_takes_nothing_from_its_time(self) -> None:
        before = make_status(phase="Starting", attempt=2, opened_attempt=1, ledger={"Training": 540.0})
        log = make_log(attempt=2, opened_attempt=2, checkpoint=None, checkpoints=(), restored_step=None)
        seen = script("Stepping", "Stepping", "Stepping", status=before, attempt=2, generation=(2, 1, 1), log=log)
        status = passed(seen).status
        assert (status.opened_attempt, "Lost" in status.ledger, status.ledger["Training"]) == (2, False, 540.0)

    def test_a_view_that_has_no_room_for_members_says_that_it_runs(self) -> None:
        assert passed(script()).status.phase == "Running"


class TestEnds:
    def test_its_success_claims_no_step_and_no_model(self) -> None:
        done = passed(script("Finishing", "Finishing", "Finishing", log=make_log(done=True, checkpoint=None, checkpoints=())))
        condition = done.status.condition("Complete")
        assert condition is not None
        assert (condition.message, done.status.step) == ("the script ended with 0 on every worker", None)
        assert [(event.reason, event.message) for event in done.events] == [("Succeeded", "the script ended with 0 on every worker")]

    def test_a_task_s_success_is_told_as_before(self) -> None:
        status = plan(make_seen(report=make_report(log=make_log(done=True))), SETTINGS, NOW).status
        assert status.message == "the last step is done, and the model is in storage"

    def test_too_many_deaths_at_its_start_fail_the_job_with_the_exception(self) -> None:
        told = make_failure("Crash", message="ModuleNotFoundError: No module named 'x' (train.py, line 1)", phase="Stepping")
        seen = script("Starting", "Idle", "Idle", status=make_status(failures=5, reported_failures=5), failures=(told,), failure_count=6)
        status = passed(seen).status
        assert status.phase == "Failed"
        assert status.message.endswith("the last: worker 0: Crash: ModuleNotFoundError: No module named 'x' (train.py, line 1)")

    def test_suspending_it_says_what_happens_to_it(self) -> None:
        job = make_job(make_status(), suspend=True, **SCRIPT)
        done = plan(make_seen(job, report=make_report(members=members("Stepping"))), SETTINGS, NOW)
        assert done.status.message == "the script is told to end; then the pods are given back"
        assert [event.message for event in done.events if event.reason == "Suspending"] == [done.status.message]

    def test_a_suspended_one_claims_no_checkpoint(self) -> None:
        stop = StopRecord(request="suspend-1", time=NOW, reason="Suspend")
        job = make_job(make_status(phase="Suspending", stop=stop), suspend=True, **SCRIPT)
        condition = plan(make_seen(job, report=make_report(stopped="suspend-1")), SETTINGS, NOW).status.condition("Suspended")
        assert condition is not None
        assert (condition.status, condition.message) == ("True", "the script has ended, and the pods are given back")
        assert stopped_words(job) == "the script has ended; what it saved is its own"
        assert stopped_words(make_job(make_status(step=7, checkpoint=7))) == "saved at step 7"

    def test_the_end_of_its_pod_that_nobody_reported_is_told_by_its_last_words(self) -> None:
        done = passed(script("Finishing", "Finishing"))
        assert done.status.phase == "Running"
        pods = tuple(make_failed(index, code=0, done=True) for index in range(3))
        seen = make_seen(make_job(make_status(), **SCRIPT), report=None, pods=pods)
        assert plan(seen, SETTINGS, NOW).status.message == "the script ended with 0 on every worker"


class TestTheGrace:
    @pytest.mark.parametrize(
        ("spec", "seconds"),
        [
            (SCRIPT | {"workers": {"replicas": 3, "template": {"terminationGracePeriodSeconds": 600}}}, 600.0),
            (SCRIPT | {"workers": {"replicas": 3, "template": {"terminationGracePeriodSeconds": 20}}}, 120.0),
            (SCRIPT, 120.0),
            ({"workers": {"replicas": 3, "template": {"terminationGracePeriodSeconds": 600}}}, 120.0),
        ],
        ids=["a long one", "a short one", "the default", "a task's"],
    )
    def test_the_end_of_a_script_is_waited_for_as_long_as_its_user_allows(self, spec: dict[str, Any], seconds: float) -> None:
        assert limit_seconds(make_job(**spec).spec, SETTINGS) == seconds

    def test_its_pods_stay_until_then(self) -> None:
        stop = StopRecord(request="suspend-1", time=NOW, reason="Suspend")
        workers = {"replicas": 3, "template": {"terminationGracePeriodSeconds": 600}}
        job = make_job(make_status(phase="Suspending", stop=stop), suspend=True, workers=workers, **SCRIPT)
        seen = make_seen(job, report=make_report(members=members("Stepping", "Stepping", "Stepping")))
        assert [passed(seen, seconds).status.phase for seconds in (300.0, 601.0)] == ["Suspending", "Suspended"]
