"""When is a job to be looked at again, if nothing happens before? Pure."""

from __future__ import annotations

from datetime import datetime

from trainingjob_operator.controllers.training_job.children import retention
from trainingjob_operator.controllers.training_job.ledger import Ledger
from trainingjob_operator.controllers.training_job.policy import Course, Decision, deadline, gang, suspend
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed
from trainingjob_operator.controllers.training_job.status import silence

SHORTEST_SECONDS = 0.05


def next_look(
    seen: Observed, decision: Decision, settings: Settings, ledger: Ledger, written: datetime | None, now: datetime
) -> float | None:
    """Seconds until the next pass; None: only when something happens. `written` is the time of the status' figures after this pass."""
    figures = _figures_due(settings, written, now)
    times: tuple[float | None, ...] = ()
    match decision.course:
        case Course.RUNNING:
            missing = seen.job.spec.recovery.replace_after_seconds - max(seen.silent_seconds.values(), default=0.0)
            times = (figures, deadline.remaining(seen, ledger), missing, gang.remaining(seen, decision.wanted, now))
        case Course.STOPPING if decision.wanted.stop is not None:
            left = suspend.remaining(seen, decision.wanted.stop, settings, now)
            times = (figures, deadline.remaining(seen, ledger), left)
        case Course.RELEASED:
            times = (deadline.remaining(seen, ledger), gang.pause_left(seen, now))
        case Course.ENDED:
            times = retention.waits(seen, settings, now)
    if any(pod.deleting and pod.reason == NODE_LOST for pod in seen.pods):
        times = (*times, settings.progress_seconds)  # nothing tells of the end of its grace
    times = (*times, silence.seconds_left(seen, decision, now))
    due = [time for time in times if time is not None]
    return max(SHORTEST_SECONDS, min(due)) if due else None


def _figures_due(settings: Settings, written: datetime | None, now: datetime) -> float:
    """Seconds until figures may be written again, which no report calls for; a whole turn where it could have been done now."""
    left = settings.progress_seconds - (now - written).total_seconds() if written is not None else 0.0
    return left if 0 < left <= settings.progress_seconds else settings.progress_seconds
