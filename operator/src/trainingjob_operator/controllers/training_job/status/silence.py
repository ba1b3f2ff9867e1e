"""Since when the rendezvous has not been heard, and when the status may not claim any more what it said last. Pure.

A short silence changes nothing but the condition Reporting: a generation trains on without rendezvous and operator.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from trainingjob_operator.controllers.training_job.policy import Course, Decision
from trainingjob_operator.controllers.training_job.policy.wanted import is_unheard_yet
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase, Role

LIMIT_SECONDS = 10.0
"""A report that is older is no evidence that steps are being taken. An operator that begins has 15 s to be connected (decision 17)."""
UNDER_WAY = (Course.RUNNING, Course.STOPPING)
"""Courses in which the rendezvous is told and heard."""
BEFORE_THE_FIRST_STEP = ("Suspended", "Pending", "Starting")
"""Phases of a life that claim no step: what comes before it is no loss, and the rendezvous may not have been heard yet."""


def is_streaming(seen: Observed, decision: Decision) -> bool:
    """Return whether the rendezvous is heard. An operator that has just begun keeps what the status says until it is connected."""
    if decision.course not in UNDER_WAY:
        return False
    before = seen.job.status.condition("Reporting")
    return seen.reporting or (is_unheard_yet(seen, decision.wanted) and before is not None and before.status == "True")


def silent_since(seen: Observed, now: datetime) -> datetime:
    """Return when the rendezvous of a job that does not report was heard last; the status remembers it for the next operator."""
    before = seen.job.status.condition("Reporting")
    if before is not None and before.status != "True" and before.last_transition_time is not None:
        return before.last_transition_time
    return now - timedelta(seconds=seen.unheard_seconds)


def is_heard(seen: Observed) -> bool:
    """Return whether the rendezvous has been heard in this life of the job. Until then the silence is that of the former life."""
    before = seen.job.status.condition("Reporting")
    return before is None or before.status == "True" or before.reason != Reason.NOT_HEARD_YET


def cause(seen: Observed, decision: Decision) -> Reason:
    """Return why the rendezvous of a job that does not report is not heard."""
    begins = decision.anew or (decision.course is Course.RUNNING and seen.job.status.is_released())
    under_way = decision.course in (*UNDER_WAY, Course.INVALID)
    return Reason.NOT_HEARD_YET if begins or (under_way and not is_heard(seen)) else Reason.NO_STREAM


def seconds_left(seen: Observed, decision: Decision, now: datetime) -> float | None:
    """Return in how many seconds the status of a job that does not report becomes unknown; None where it stays as it is."""
    left = LIMIT_SECONDS - (now - silent_since(seen, now)).total_seconds()
    return left if left > 0 and _makes_claims(seen, decision) and not is_streaming(seen, decision) else None


def is_unknown(seen: Observed, decision: Decision, now: datetime) -> bool:
    """Return whether it is unknown what the job does: its workers run, and the last report is older than the limit."""
    return _makes_claims(seen, decision) and is_overdue(seen, decision, now)


def is_overdue(seen: Observed, decision: Decision, now: datetime) -> bool:
    """Return whether a job that is under way should have reported by now."""
    if decision.course not in (*UNDER_WAY, Course.INVALID) or is_streaming(seen, decision):
        return False
    return (now - silent_since(seen, now)).total_seconds() >= LIMIT_SECONDS


def words(since: datetime) -> str:
    """Return what is said of a job that has not reported since then."""
    return f"the rendezvous has been silent since {since:%Y-%m-%d %H:%M:%S} UTC; whether steps are being taken is unknown"


def _makes_claims(seen: Observed, decision: Decision) -> bool:
    if decision.course is Course.INVALID:  # what runs is left alone, and not listened to
        return is_heard(seen) and seen.job.status.phase not in (*BEFORE_THE_FIRST_STEP, "", "Succeeded", "Failed")
    under_way = decision.course in UNDER_WAY and not decision.anew and is_heard(seen)
    return under_way and seen.job.status.phase not in BEFORE_THE_FIRST_STEP and any_worker(seen)


def any_worker(seen: Observed) -> bool:
    """Return whether a worker's pod runs."""
    return any(pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING for pod in seen.pods)
