"""Going back to a kept checkpoint, once per request id. Pure.

A request is *pending* until an attempt carries it, *begun* until the log says that it is carried out, then *done*. A request
for a step that is not there is answered and done with, and the job goes on.
"""

from __future__ import annotations

from trainingjob_api.status import RestorePoint
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, current_report
from trainingjob_operator.controllers.training_job.state import Observed


def asked(seen: Observed) -> bool:
    """There is a request that is not done."""
    rollback = seen.job.spec.rollback
    return rollback is not None and rollback.request != seen.job.status.last_rollback_request


def steps(seen: Observed) -> tuple[int, ...]:
    """The checkpoints that can be gone back to."""
    report = current_report(seen)
    return report.log.checkpoints if report is not None and report.log is not None else seen.job.status.checkpoints


def refusal(seen: Observed) -> str:
    """Why the request cannot be carried out; "" if it can, or if there is none, or if it has begun."""
    rollback = seen.job.spec.rollback
    if rollback is None or not asked(seen) or _begun(seen) or rollback.to_step in steps(seen):
        return ""
    known = ", ".join(map(str, steps(seen))) or "none yet"
    return f"rollback.toStep: there is no checkpoint of step {rollback.to_step}; there are: {known}. Ask again with a new request"


def pending(seen: Observed) -> RestorePoint | None:
    """The restore point of a request that no attempt carries yet."""
    return None if _begun(seen) else _point(seen)


def revival(seen: Observed) -> RestorePoint | None:
    """The restore point of a request that waits for a job of which nothing runs.

    One that an attempt carried when the job was completed waits still; if the job failed with it, it is over.
    """
    return pending(seen) if _has_failed(seen) else _point(seen)


def done(seen: Observed) -> str | None:
    """The id of the last request that needs nothing more."""
    status, report = seen.job.status, current_report(seen)
    rollback = seen.job.spec.rollback
    if rollback is not None and (refusal(seen) or not asked(seen)):
        return rollback.request
    if status.restore.request is not None and _has_failed(seen):
        return status.restore.request
    carried_out = report.log.request if report is not None and report.log is not None else None
    if carried_out is not None and carried_out == status.restore.request:
        return carried_out
    return status.last_rollback_request


def kept(seen: Observed, wanted: Wanted) -> RestorePoint:
    """Where the next attempt starts if nobody asks for a certain point: a rollback that has begun is not forgotten."""
    begun = wanted.restore.request is not None and seen.job.status.last_rollback_request != wanted.restore.request
    return wanted.restore if begun and done(seen) != wanted.restore.request else RestorePoint()


def carried(seen: Observed, wanted: Wanted) -> Wanted:
    """A new attempt, if a request waits for one."""
    point = pending(seen)
    return wanted if point is None else wanted.with_attempt(seen, point)


def _point(seen: Observed) -> RestorePoint | None:
    rollback = seen.job.spec.rollback
    if rollback is None or not asked(seen) or rollback.to_step not in steps(seen):
        return None
    return RestorePoint(kind="Step", step=rollback.to_step, request=rollback.request)


def _has_failed(seen: Observed) -> bool:
    failed = seen.job.status.condition("Failed")
    return failed is not None and failed.status == "True"


def _begun(seen: Observed) -> bool:
    rollback = seen.job.spec.rollback
    return rollback is not None and seen.job.status.restore.request == rollback.request
