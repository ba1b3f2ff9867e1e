"""The conditions of a job: what programs read of it. Pure.

Those that this version does not know are a newer one's, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from trainingjob_api.status import CONDITIONS, SUSPEND, Condition
from trainingjob_operator.controllers.training_job.policy import Course, Decision, gang, rollback, suspend
from trainingjob_operator.controllers.training_job.policy.wanted import current_report
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed
from trainingjob_operator.controllers.training_job.status.phase import is_held_up, is_under_way, is_untold
from trainingjob_operator.controllers.training_job.status.script import is_script
from trainingjob_operator.controllers.training_job.status.silence import cause, is_streaming, silent_since
from trainingjob_operator.controllers.training_job.status.stall import reason
from trainingjob_operator.controllers.training_job.status.storage import kept_words, storage_words, without_training
from trainingjob_operator.controllers.training_job.status.waiting import obstacle, released

Claim = tuple[str, bool | None, Reason, str]
"""Type, value (None: unknown), reason, message."""


def conditions(seen: Observed, decision: Decision, *, ready: bool | None, working: str, now: datetime) -> tuple[Condition, ...]:
    """All conditions; the transition time moves only where the value changes. `working` says who trains, for a person."""
    own = tuple(_condition(seen, claim, now) for claim in _claims(seen, decision, ready, working))
    told = {condition.type for condition in own} if decision.course is Course.INVALID else CONDITIONS
    return own + tuple(condition for condition in seen.job.status.conditions if condition.type not in told)


def _claims(seen: Observed, decision: Decision, ready: bool | None, working: str) -> Iterator[Claim]:
    if decision.course is Course.INVALID:
        yield "Valid", False, Reason.INVALID, decision.problem
        yield from _unheeded(seen, decision, ready, working)
        return
    yield from _ends(decision)
    if decision.course is Course.SUSPENDED:
        yield "Suspended", True, Reason.SUSPENDED, _suspended(seen)
    else:
        stop = decision.wanted.stop
        asked = decision.course is Course.STOPPING and stop is not None and stop.reason == SUSPEND
        yield "Suspended", False, Reason.SUSPENDING if asked else Reason.NOT_SUSPENDED, ""
    yield "Ready", ready, _at_work(seen) if ready else _unready(seen, decision, ready), working
    streaming = is_streaming(seen, decision)
    yield "Reporting", streaming, Reason.CONNECTED if streaming else cause(seen, decision), ""
    yield "Valid", True, Reason.VALID, ""
    yield from _rolled_back(seen)
    yield from _waiting(seen, decision)
    yield from _storage(seen, decision, bool(ready))


def _unheeded(seen: Observed, decision: Decision, ready: bool | None, working: str) -> Iterator[Claim]:
    """What is said of a job that cannot be run as it is: it may train on, and nobody listens. `working` is "" while Ready stays."""
    if seen.job.status.condition("Reporting") is not None:
        yield "Reporting", False, cause(seen, decision), ""
    if working:
        yield "Ready", ready, Reason.NO_REPORT if ready is None else Reason.NOT_TRAINING, working


def _at_work(seen: Observed) -> Reason:
    return Reason.SCRIPT_RUNS if is_script(seen.job) else Reason.TRAINING


def _unready(seen: Observed, decision: Decision, ready: bool | None) -> Reason:
    """Why no step is taken, or it is unknown. Without a report: as it was."""
    if ready is None:
        return Reason.NO_REPORT
    report, before = current_report(seen), seen.job.status.condition("Ready")
    if report is not None and is_held_up(seen, decision):
        return reason(report)
    if not is_under_way(seen, decision) and not is_untold(seen, decision):
        cut = decision.course is Course.RUNNING and report is not None and report.links
        return Reason.WAITING_FOR_LINK if cut else Reason.NOT_TRAINING
    if report is not None:
        return reason(report) if report.stalled else Reason.NOT_TRAINING
    return next((known for known in Reason if before is not None and known == before.reason), Reason.NOT_TRAINING)


def _waiting(seen: Observed, decision: Decision) -> Iterator[Claim]:
    waits = obstacle(seen) if decision.course is Course.RUNNING else None
    if gang.gives_back(decision.wanted) and decision.course in (Course.STOPPING, Course.RELEASED):
        waits = Reason.PODS_RELEASED, released(decision)
    if waits is not None:
        yield "Waiting", True, *waits
    elif seen.job.status.condition("Waiting") is not None:
        yield "Waiting", False, Reason.NOT_WAITING, ""


def _storage(seen: Observed, decision: Decision, ready: bool) -> Iterator[Claim]:
    """Trouble that workers have with the storage. Without a report, and while nothing runs: as it was."""
    report, before = current_report(seen), seen.job.status.condition("StorageFailing")
    was = before.message if before is not None and before.status == "True" else ""
    told = without_training(was) if report is None else storage_words(report, training=ready)
    if report is None and decision.course is Course.RUNNING:
        told = was
    if told and not (decision.outcome is not None and decision.outcome.complete):
        yield "StorageFailing", True, Reason.STORAGE_FAILS, told
    elif before is not None:
        yield "StorageFailing", False, Reason.STORAGE_WORKS, ""


def _ends(decision: Decision) -> Iterator[Claim]:
    outcome = decision.outcome
    for kind, complete in (("Complete", True), ("Failed", False)):
        if outcome is not None and outcome.complete is complete:
            yield kind, True, outcome.reason, outcome.message
        else:
            yield kind, False, Reason.STARTED if outcome is None else outcome.reason, ""


def _suspended(seen: Observed) -> str:
    stop, status = seen.job.status.stop, seen.job.status
    if suspend.is_suspended(seen):
        condition = status.condition("Suspended")
        return condition.message if condition is not None else ""
    if stop is None:
        return "suspended before anything was made"
    if is_script(seen.job):
        return "the script has ended, and the pods are given back"
    if not status.total_steps:
        return "the pods are given back" + (f"; checkpoint {status.checkpoint} is in storage" if status.checkpoint is not None else "")
    report = current_report(seen)
    step, log = (report.step, report.log) if report is not None else (None, None)
    checkpoint = log.checkpoint if log is not None else status.checkpoint
    return f"the pods are given back; {kept_words(status.step if step is None else step, checkpoint)}"


def _rolled_back(seen: Observed) -> Iterator[Claim]:
    before = seen.job.status.condition("RolledBack")
    refusal, done = rollback.refusal(seen), rollback.done(seen)
    if refusal:
        yield "RolledBack", False, Reason.ROLLBACK_REFUSED, refusal
    elif done is not None and done != seen.job.status.last_rollback_request:
        yield "RolledBack", True, Reason.ROLLED_BACK, f"request {done}: {rollback.outcome(seen)}"
    elif before is not None:
        value = before.status == "True"
        yield "RolledBack", value, Reason.ROLLED_BACK if value else Reason.ROLLBACK_REFUSED, before.message


def _condition(seen: Observed, claim: Claim, now: datetime) -> Condition:
    kind, value, reason, message = claim
    before = seen.job.status.condition(kind)
    word = "Unknown" if value is None else str(value)
    changed = silent_since(seen, now) if kind == "Reporting" and not value else now
    return Condition(
        type=kind,
        status=word,
        reason=reason.value,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and before.status == word else changed,
        observed_generation=seen.job.metadata.generation,
    )
