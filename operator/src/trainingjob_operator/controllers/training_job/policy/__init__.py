"""What is to be done about a job: one decision a file, each a pure function of what was observed; here is their order.

deletion (make nothing) > finished > deadline > suspend > rollback > scale
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from trainingjob_api.status import SUSPEND, StopRecord
from trainingjob_operator.controllers.training_job.ledger import Ledger
from trainingjob_operator.controllers.training_job.policy import (
    attempts,
    deadline,
    failures,
    finished,
    gang,
    rendezvous,
    replacement,
    rollback,
    scale,
    suspend,
    validity,
)
from trainingjob_operator.controllers.training_job.policy.failures import Tally
from trainingjob_operator.controllers.training_job.policy.wanted import Outcome, Wanted
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Role


class Course(StrEnum):
    """What the job is about, after this pass."""

    IGNORED = "Ignored"
    """It is being deleted, perhaps with its namespace, or another controller's: make nothing, say nothing."""
    INVALID = "Invalid"
    """The manifest cannot be run as it is: say so, leave what runs alone."""
    RUNNING = "Running"
    STOPPING = "Stopping"
    """An end in order has been asked for: save, leave."""
    SUSPENDED = "Suspended"
    RELEASED = "Released"
    """Too few workers ran for too long: the pods are given back for a while."""
    ENDED = "Ended"


@dataclass(frozen=True)
class Decision:
    """What the policies have come to, together."""

    course: Course
    wanted: Wanted
    tally: Tally
    outcome: Outcome | None = None
    """With Ended."""
    problem: str = ""
    """With Invalid."""
    anew: bool = False
    """A new life begins: the first, after a suspension, or of a finished job: by a rollback, or by more epochs or steps."""


def decide(seen: Observed, settings: Settings, ledger: Ledger, now: datetime) -> Decision:
    """Ask every policy, in order of precedence. `ledger` is filled in up to now."""
    job, wanted = seen.job, Wanted.of(seen.job.status)
    unchanged = Decision(Course.IGNORED, wanted, _quiet(seen))
    if job.metadata.deletion_timestamp is not None or seen.closing:
        return unchanged
    if not seen.problem and job.spec.managed_by != settings.operator_name:
        return unchanged
    problem = validity.problem(seen, settings)
    if problem:
        return replace(unchanged, course=Course.INVALID, problem=problem)
    decision = (
        _at_rest(seen, wanted, unchanged) or _released(seen, ledger, now, unchanged) or _under_way(seen, settings, ledger, now, wanted)
    )
    kept = gang.watched(seen, decision.wanted, now).placement if decision.course is Course.RUNNING else decision.wanted.placement
    over = decision.course in (Course.SUSPENDED, Course.ENDED)
    return replace(decision, wanted=replace(decision.wanted, placement=None if over else kept))


def _at_rest(seen: Observed, wanted: Wanted, unchanged: Decision) -> Decision | None:
    """The decision about a job of which nothing runs, or is to run; None about any other."""
    ended = finished.ended(seen)
    wakes = not seen.job.spec.suspend
    if ended is not None and not (wakes and (rollback.revival(seen) or finished.is_extended(seen))):
        return replace(unchanged, course=Course.ENDED, outcome=ended)
    if ended is not None or (suspend.is_suspended(seen) and wakes and wanted.attempt > 0):
        fresh = scale.resized(seen, suspend.restarted(seen, wanted))
        return Decision(Course.RUNNING, fresh, replace(unchanged.tally, failures=0, reported=0), anew=True)
    if suspend.is_suspended(seen) and not wakes:
        return replace(unchanged, course=Course.SUSPENDED)
    if wanted.attempt == 0:
        if not wakes:
            return replace(unchanged, course=Course.SUSPENDED)
        return Decision(Course.RUNNING, scale.resized(seen, _first(seen, wanted)), unchanged.tally, anew=True)
    return None


def _released(seen: Observed, ledger: Ledger, now: datetime, unchanged: Decision) -> Decision | None:
    """The decision about a job that has given its pods back for a while; None about any other."""
    if not seen.job.status.is_released():
        return None
    outcome = deadline.exceeded(seen, ledger)
    if outcome is not None:
        return replace(unchanged, course=Course.ENDED, outcome=outcome)
    if seen.job.spec.suspend:
        return replace(unchanged, course=Course.SUSPENDED)
    if gang.pause_left(seen, now) > 0:
        return replace(unchanged, course=Course.RELEASED)
    fresh = scale.resized(seen, suspend.restarted(seen, unchanged.wanted))
    return Decision(Course.RUNNING, fresh, replace(unchanged.tally, reported=0))


def _under_way(seen: Observed, settings: Settings, ledger: Ledger, now: datetime, wanted: Wanted) -> Decision:
    completed = finished.completed(seen, wanted)
    lost = replacement.losses(seen, wanted) if wanted.stop is None and completed is None else ()
    tally = failures.tally(seen, lost)
    outcome = completed or tally.outcome or deadline.exceeded(seen, ledger)
    if outcome is not None:
        return Decision(Course.ENDED, replacement.replaced(seen, wanted, ()), tally, outcome)
    stop = wanted.stop or _stop(seen, wanted, tally, now)
    if stop is not None:
        unreplaced = replace(tally, restarts=tally.restarts - len(lost))
        return _stopping(seen, settings, now, replace(wanted, stop=stop), stop, unreplaced)
    wanted = attempts.renewed(seen, rollback.carried(seen, wanted))
    wanted = replacement.replaced(seen, rendezvous.renewed(seen, wanted), lost)
    return Decision(Course.RUNNING, scale.resized(seen, wanted), tally)


def _stop(seen: Observed, wanted: Wanted, tally: Tally, now: datetime) -> StopRecord | None:
    if seen.job.spec.suspend:
        return suspend.request(seen, now)
    if tally.hopeless is not None:
        request = f"fail-{seen.job.status.attempt}-{seen.job.status.rendezvous.epoch}"
        return StopRecord(request=request, time=now, reason=tally.hopeless.reason.value, message=tally.hopeless.message)
    return gang.request(seen, wanted, now)


def _stopping(seen: Observed, settings: Settings, now: datetime, wanted: Wanted, stop: StopRecord, tally: Tally) -> Decision:
    noted = replacement.replaced(seen, replacement.skipped(seen, rendezvous.renewed(seen, wanted)), ())
    if not suspend.reached(seen, wanted, stop, settings, now):
        return Decision(Course.STOPPING, noted, tally)
    if stop.reason == SUSPEND:
        return Decision(Course.SUSPENDED, noted, tally)
    if gang.gives_back(wanted):
        return Decision(Course.RELEASED, gang.released(seen, noted, now), tally)
    return Decision(Course.ENDED, noted, tally, Outcome(False, finished.reason(stop.reason), stop.message))


def _first(seen: Observed, wanted: Wanted) -> Wanted:
    """Return the start of a job, above all that is there already: a lost status named it, or an operator that died before it wrote one."""
    begun = int(seen.is_begun())
    workers = dict.fromkeys(range(seen.job.spec.workers.replicas), begun) if begun else dict(wanted.incarnations)
    for pod in seen.pods:
        if pod.role is Role.WORKER:
            workers[pod.index] = max(workers.get(pod.index, 0), pod.incarnation + 1)
    epochs = [wanted.epoch, begun, *(pod.incarnation for pod in seen.pods if pod.role is Role.RENDEZVOUS)]
    return replace(wanted, attempt=1, epoch=1 + max(epochs), rendezvous_seen=False).with_workers(workers, workers)


def _quiet(seen: Observed) -> Tally:
    """Nothing new."""
    return Tally(failures=seen.job.status.failures, reported=seen.job.status.reported_failures)
