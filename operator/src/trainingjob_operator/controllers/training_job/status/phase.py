"""The job's phase: one word for a person. Pure. Programs read the conditions."""

from __future__ import annotations

from enum import StrEnum

from trainingjob_api.status import SUSPEND, StopRecord
from trainingjob_operator.controllers.training_job.ledger import Row
from trainingjob_operator.controllers.training_job.policy import Course, Decision
from trainingjob_operator.controllers.training_job.policy.wanted import current_report, is_unheard_yet
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed
from trainingjob_operator.controllers.training_job.status import script
from trainingjob_operator.controllers.training_job.status.silence import BEFORE_THE_FIRST_STEP, any_worker
from trainingjob_operator.controllers.training_job.status.stall import phase_of


class JobPhase(StrEnum):
    """What the job does."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    STALLED = "Stalled"
    EVALUATING = "Evaluating"
    FINISHING = "Finishing"
    UNKNOWN = "Unknown"
    RECOVERING = "Recovering"
    ROLLING_BACK = "RollingBack"
    SUSPENDING = "Suspending"
    RELEASING = "Releasing"
    FAILING = "Failing"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


UNDER_WAY = (JobPhase.RUNNING, JobPhase.STALLED, JobPhase.EVALUATING, JobPhase.FINISHING)
"""A generation runs."""


def phase(seen: Observed, decision: Decision, *, unknown: bool) -> str:
    """The phase after this pass. `unknown`: no report says what the job does (status/silence.py)."""
    match decision.course:
        case Course.ENDED:
            return JobPhase.SUCCEEDED if decision.outcome is not None and decision.outcome.complete else JobPhase.FAILED
        case Course.SUSPENDED:
            return JobPhase.SUSPENDED
        case Course.STOPPING:
            return _stopping(decision.wanted.stop)
        case Course.RELEASED:
            return JobPhase.RECOVERING if _has_trained(seen) else JobPhase.PENDING
        case Course.RUNNING:
            return _running(seen, decision, unknown=unknown)
    before = seen.job.status.phase or JobPhase.PENDING
    return JobPhase.UNKNOWN if unknown and before in UNDER_WAY else before


def _stopping(stop: StopRecord | None) -> JobPhase:
    """Return what the job is about while it saves and its workers leave."""
    if stop is None or stop.reason == SUSPEND:
        return JobPhase.SUSPENDING
    return JobPhase.RELEASING if stop.reason == Reason.PODS_RELEASED else JobPhase.FAILING


def is_training(seen: Observed, decision: Decision) -> bool:
    """Steps of the wanted attempt are being finished."""
    report = current_report(seen)
    if not is_under_way(seen, decision):
        return False
    return seen.job.status.phase == JobPhase.RUNNING if report is None else not report.stalled


def is_stalled(seen: Observed) -> bool:
    """Who is in the generation waits for something. Without a report: as it was."""
    report = current_report(seen)
    if report is None:
        return seen.job.status.phase == JobPhase.STALLED
    return bool(report.stalled) and phase_of(report) == JobPhase.STALLED


def is_under_way(seen: Observed, decision: Decision) -> bool:
    """A generation of the wanted attempt runs. Without a report: if one did, and a worker still runs."""
    status, report = seen.job.status, current_report(seen)
    if decision.anew or decision.wanted.attempt != status.attempt:
        return False
    if not any_worker(seen) and (report is None or not seen.reporting):
        return False
    if report is None:
        return status.phase in UNDER_WAY
    generation = report.generation
    ours = generation is not None and generation.attempt == status.attempt
    if not ours or report.stage != "Running" or report.world == 0:
        return False
    return script.runs(report) if script.is_script(seen.job) else report.step is not None


def is_held_up(seen: Observed, decision: Decision) -> bool:
    """A generation of the wanted attempt runs, and its rendezvous says what holds it up, perhaps before its first step."""
    report = current_report(seen)
    if report is None or not report.stalled or decision.course is not Course.RUNNING or decision.anew:
        return False
    ours = report.generation is not None and report.generation.attempt == seen.job.status.attempt
    return ours and decision.wanted.attempt == seen.job.status.attempt


def is_untold(seen: Observed, decision: Decision) -> bool:
    """An operator that has just begun has not heard yet what holds a job up that takes no steps: it is as it was."""
    before = seen.job.status.condition("Ready")
    unheard = decision.course is Course.RUNNING and not decision.anew and is_unheard_yet(seen, decision.wanted)
    return unheard and before is not None and before.status == "False"


def _running(seen: Observed, decision: Decision, *, unknown: bool) -> JobPhase:
    wanted, status, report = decision.wanted, seen.job.status, current_report(seen)
    if _stays_unknown(seen, decision) or (unknown and status.phase in UNDER_WAY and wanted.attempt == status.attempt):
        return JobPhase.UNKNOWN
    if is_under_way(seen, decision):
        if report is None:
            return JobPhase(status.phase)
        return JobPhase(phase_of(report)) if report.stalled else JobPhase.RUNNING
    if wanted.restore.kind == "Step" and status.opened_attempt < wanted.attempt:
        return JobPhase.ROLLING_BACK
    if _has_trained(seen) and status.phase not in BEFORE_THE_FIRST_STEP:
        return JobPhase.RECOVERING
    return JobPhase.STARTING if any_worker(seen) else JobPhase.PENDING


def _stays_unknown(seen: Observed, decision: Decision) -> bool:
    """What the job does was unknown, and no report has come since."""
    silent = current_report(seen) is None or not seen.reporting
    return silent and seen.job.status.phase == JobPhase.UNKNOWN and decision.wanted.attempt == seen.job.status.attempt and any_worker(seen)


def _has_trained(seen: Observed) -> bool:
    status = seen.job.status
    return status.opened_attempt > 0 and any(status.ledger.get(row) for row in (Row.TRAINING, Row.RUNNING))
