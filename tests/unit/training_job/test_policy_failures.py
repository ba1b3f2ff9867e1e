"""What failures mean: classified first, then counted."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import NOW, SETTINGS, make_failed, make_failure, make_job, make_pod, make_report, make_seen, make_status
from trainingjob_api.contract.messages import Failure, GenerationId, MemberId
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_operator.controllers.training_job.policy import Course, decide
from trainingjob_operator.controllers.training_job.policy.failures import Action, Tally, hopeless, judge_loss, judge_process, tally
from trainingjob_operator.controllers.training_job.policy.replacement import Loss
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Pod

RULES = [{"exitCodes": [42], "action": "Fail"}, {"exitCodes": [137], "action": "Ignore"}, {"exitCodes": [64], "action": "Count"}]

LOSSES: dict[str, tuple[Pod | None, dict[str, Any], Action]] = {
    "gone": (None, {}, Action.IGNORE),
    "deleted": (make_pod(deleting=True), {}, Action.IGNORE),
    "evicted": (make_failed(code=137, reason="Evicted"), {}, Action.IGNORE),
    "its node went down": (make_failed(code=137, reason="NodeShutdown"), {}, Action.IGNORE),
    "killed": (make_failed(code=137), {}, Action.COUNT),
    "out of memory": (make_failed(code=137, reason="OOMKilled"), {}, Action.COUNT),
    "crashed": (make_failed(code=ExitCode.CRASHED), {}, Action.COUNT),
    "storage": (make_failed(code=ExitCode.STORAGE), {}, Action.COUNT),
    "refused by the rendezvous": (make_failed(code=ExitCode.REFUSED), {}, Action.COUNT),
    "refused by one that has not heard of it": (make_failed(code=ExitCode.REFUSED), {"reporting": False}, Action.IGNORE),
    "no rendezvous": (make_failed(code=ExitCode.RENDEZVOUS_LOST), {}, Action.COUNT),
    "left too early": (make_failed(code=0), {}, Action.COUNT),
    "the user's error": (make_failed(code=ExitCode.USER_ERROR), {}, Action.FAIL),
    "another job's storage": (make_failed(code=ExitCode.FENCED), {}, Action.FAIL),
    "a rule that fails": (make_failed(code=42), {"rules": RULES}, Action.FAIL),
    "a rule that ignores": (make_failed(code=137), {"rules": RULES}, Action.IGNORE),
    "a rule comes before the agent's word": (make_failed(code=64), {"rules": RULES}, Action.COUNT),
}


def seen_with(status: Any = None, report: Any = None, rules: Any = (), max_failures: int = 5, reporting: bool = True) -> Any:
    job = make_job(status or make_status(), recovery={"maxFailures": max_failures, "rules": list(rules)})
    return make_seen(job, report=report or make_report(), reporting=reporting)


@pytest.mark.parametrize(("pod", "fields", "action"), LOSSES.values(), ids=LOSSES.keys())
def test_a_lost_worker_counts(pod: Pod | None, fields: dict[str, Any], action: Action) -> None:
    assert judge_loss(seen_with(**fields), Loss(0, "why", pod)).action is action


def test_a_silent_worker_does_not_count() -> None:
    assert judge_loss(seen_with(), Loss(0, "silent", make_pod(), silent=True)).action is Action.IGNORE


PROCESSES = {
    "a crash": (make_failure("Crash", exit_code=1), (), Action.COUNT),
    "a signal": (make_failure("Signal", exit_code=-11), (), Action.COUNT),
    "a hang": (make_failure("Hung"), (), Action.COUNT),
    "a lost connection": (make_failure("Lost"), (), Action.IGNORE),
    "silence": (make_failure("Silent"), (), Action.IGNORE),
    "the user's error": (make_failure("UserError", message="task.class: no such module"), (), Action.FAIL),
    "another job's storage": (make_failure("Fenced", message="spec.checkpoint.storage.uri: …"), (), Action.FAIL),
    "a newer agent's word": (make_failure("Struck by lightning"), (), Action.COUNT),
    "a rule for a signal": (make_failure("Signal", exit_code=-9), RULES, Action.IGNORE),
}


@pytest.mark.parametrize(("failure", "rules", "action"), PROCESSES.values(), ids=PROCESSES.keys())
def test_a_lost_process_counts(failure: Failure, rules: Any, action: Action) -> None:
    assert judge_process(seen_with(rules=rules), failure).action is action


CRASHES = (make_failure("Crash"), make_failure("Lost"), make_failure("Crash"))


def counted(**fields: Any) -> Tally:
    return tally(seen_with(**fields), ())


def test_each_reported_failure_is_accounted_for_once() -> None:
    report = make_report(failures=CRASHES, failure_count=3)
    first = counted(status=make_status(reported_failures=0, checkpoint=200), report=report)
    assert (first.failures, first.reported, first.restarts, len(first.records)) == (2, 3, 2, 3)
    again = counted(status=make_status(reported_failures=3, failures=2, checkpoint=200), report=report)
    assert (again.failures, again.reported, again.restarts, again.records) == (2, 3, 0, ())


def test_only_what_is_new_is_accounted_for() -> None:
    report = make_report(failures=CRASHES, failure_count=30)
    assert counted(status=make_status(reported_failures=29, failures=1, checkpoint=200), report=report).failures == 2


def test_a_newer_checkpoint_refills_the_budget() -> None:
    before, after = make_status(failures=4, checkpoint=200), make_status(failures=4, checkpoint=100)
    assert (counted(status=before).failures, counted(status=after).failures) == (4, 0)


def test_more_failures_than_allowed_end_the_job() -> None:
    report = make_report(failures=CRASHES, failure_count=3)
    assert counted(status=make_status(failures=3, checkpoint=200), report=report).outcome is None
    outcome = counted(status=make_status(failures=4, checkpoint=200), report=report).outcome
    assert outcome is not None
    assert outcome.reason is Reason.TOO_MANY_FAILURES
    assert outcome.message == "6 failures, more than recovery.maxFailures (5); the last: worker 0: Crash"


def test_the_users_error_ends_the_job_with_its_message() -> None:
    failure = make_failure("UserError", 2, message="task.class: no module named digit; did you mean digits?")
    outcome = counted(report=make_report(failures=(failure,), failure_count=1)).outcome
    assert outcome is not None
    assert (outcome.complete, outcome.reason) == (False, Reason.USER_ERROR)
    assert outcome.message == "worker 2: task.class: no module named digit; did you mean digits?"


def test_a_pod_that_ended_by_a_user_error_tells_it_in_its_own_words() -> None:
    pod = make_failed(code=ExitCode.USER_ERROR, message="checkpoint.storage.uri: another job owns it; choose another place")
    outcome = tally(seen_with(), (Loss(0, "it failed with exit code 64", pod),)).outcome
    assert outcome is not None
    assert outcome.message == "worker 0: checkpoint.storage.uri: another job owns it; choose another place"


def crash(step: int, n: int, cause: str = "Crash", **fields: Any) -> Failure:
    return make_failure(cause, step=step, generation=GenerationId(1, 1, n), message="boom", **fields)


KEY = "task.py:42 KeyError"


POISON = {
    "three crashes in two generations": ((crash(7, 1), crash(7, 1), crash(7, 2)), True),
    "three crashes in one generation": ((crash(7, 1), crash(7, 1), crash(7, 1)), False),
    "two crashes": ((crash(7, 1), crash(7, 2)), False),
    "three steps": ((crash(7, 1), crash(8, 2), crash(9, 3)), False),
    "lost connections": ((crash(7, 1, "Lost"), crash(7, 2, "Lost"), crash(7, 3, "Lost")), False),
    "signals too": ((crash(7, 1, "Signal"), crash(7, 2), crash(7, 3, "Signal")), True),
    "two kills, which may be somebody's": ((crash(7, 1, "Signal", exit_code=-9), crash(7, 2, "Signal", exit_code=-9)), False),
    "two segmentation faults": ((crash(7, 1, "Signal", exit_code=-11), crash(7, 2, "Signal", exit_code=-11)), True),
    "two segmentation faults in one generation": ((crash(7, 1, "Signal", exit_code=-11),) * 2, False),
    "two exits by the code itself": ((crash(7, 1, exit_code=3), crash(7, 2, exit_code=3)), True),
    "two exceptions of the machine": ((crash(7, 1, exit_code=1), crash(7, 2, exit_code=1)), False),
    "two exceptions of the code": ((crash(7, 1, exit_code=1, raised=KEY), crash(7, 2, exit_code=1, raised=KEY)), True),
    "in two steps": ((crash(7, 1, exit_code=1, raised=KEY), crash(8, 2, exit_code=1, raised=KEY)), False),
}


@pytest.mark.parametrize(("failures", "expected"), POISON.values(), ids=POISON.keys())
def test_hopeless(failures: tuple[Failure, ...], expected: bool) -> None:
    assert (hopeless(failures) is not None) is expected


def starting(worker: int, life: int, raised: str = KEY) -> Failure:
    fields = {"exit_code": 1, "raised": raised, "message": "KeyError: 'a' (task.py:42, in model)"}
    return make_failure("Crash", worker, **fields).model_copy(update={"member": MemberId(worker, 0, 0, life)})


def test_an_exception_whenever_a_worker_starts_ends_the_job() -> None:
    assert hopeless((starting(0, 0), starting(1, 0), starting(2, 0))) is None, "all at once: the network may have been away"
    assert hopeless((starting(0, 0, ""), starting(0, 1, ""))) is None, "not of the code's doing"
    outcome = hopeless((starting(0, 0), starting(1, 0), starting(1, 1)))
    assert outcome is not None
    assert outcome.reason is Reason.USER_ERROR
    assert outcome.message == "spec.training.task: KeyError: 'a' (task.py:42, in model), whenever worker 1 starts; mend it"


def test_an_exception_of_the_code_is_told_with_its_place_and_step() -> None:
    outcome = hopeless((crash(7, 1, raised=KEY), crash(7, 2, raised=KEY)))
    assert outcome is not None
    assert outcome.reason is Reason.USER_ERROR
    assert outcome.message == "spec.training.task: boom at step 7, in 2 generations; mend it"


FIXES = {
    "the task's code": ({"raised": KEY}, "mend it"),
    "the data's code": ({"raised": KEY, "samples": True}, "mend it, or that step's samples"),
    "a library, while samples are read": ({"samples": True, "exit_code": 1}, "look at its samples"),
    "a segmentation fault": ({"exit_code": -11}, "look at native code that it runs, and at its samples"),
    "a library": ({"exit_code": 1}, "the end of these processes' output says where"),
    "somebody's kills": ({"exit_code": -9}, "the end of these processes' output says where"),
}


@pytest.mark.parametrize(("fields", "fix"), FIXES.values(), ids=FIXES.keys())
def test_samples_are_named_only_where_they_may_be_to_blame(fields: dict[str, Any], fix: str) -> None:
    outcome = hopeless((crash(7, 1, **fields), crash(7, 2, **fields), crash(7, 3, **fields)))
    assert outcome is not None
    assert outcome.message.rpartition("; ")[2] == fix


def test_the_users_rules_come_before_hopelessness() -> None:
    rules = [{"exitCodes": [3], "action": "Ignore"}]
    report = make_report(failures=POISON["two exits by the code itself"][0], failure_count=2)
    assert counted(report=report).hopeless is not None
    assert tally(seen_with(report=report, rules=rules), ()).hopeless is None


def test_a_poisonous_step_fails_the_job_after_a_save() -> None:
    report = make_report(failures=POISON["three crashes in two generations"][0], failure_count=3)
    first = decide(seen_with(status=make_status(checkpoint=200), report=report), SETTINGS, {}, NOW)
    assert first.course is Course.STOPPING
    stop = first.wanted.stop
    assert stop is not None
    assert stop.message.startswith("step 7 crashed 3 processes in 2 generations (the last: boom)")
    stopped = report.model_copy(update={"stopped": stop.request})
    last = decide(seen_with(status=make_status(stop=stop, checkpoint=200, reported_failures=3), report=stopped), SETTINGS, {}, NOW)
    assert last.outcome is not None
    assert (last.course, last.outcome.complete, last.outcome.reason) == (Course.ENDED, False, Reason.POISONOUS_STEP)


def test_a_failure_that_the_next_rendezvous_tells_of_again_is_not_counted_again() -> None:
    old = make_failure("Signal", worker=1, step=30, generation=GenerationId(1, 1, 4), message="SIGKILL")
    first = tally(seen_with(report=make_report(failures=(old,), failure_count=1)), ())
    status = make_status(rendezvous={"epoch": 2, "seen": True}, checkpoint=200, failures=1, last_failures=first.records)
    again = tally(seen_with(status, make_report(epoch=2, failures=(old,), failure_count=1)), ())

    assert (first.failures, first.restarts) == (1, 1)
    assert (again.failures, again.restarts, again.records) == (1, 0, ())
    assert again.reported == 1
