"""Going back to a kept checkpoint, once per request id. Pure.

A request is *pending* until an attempt carries it, *begun* until the log says that it is carried out, then *done*. While workers run, a
pending one waits until one of them has pinned its checkpoint in the log, so that retention cannot drop it before the attempt is opened.
A request for a step that is not there is answered and done with, and the job goes on.
"""

from __future__ import annotations

from trainingjob_api.contract.messages import Keep, LogPosition
from trainingjob_api.status import RestorePoint
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, current_report, known_log, opened
from trainingjob_operator.controllers.training_job.state import Observed


def asked(seen: Observed) -> bool:
    """There is a request that is not done."""
    rollback = seen.job.spec.rollback
    return rollback is not None and rollback.request != seen.job.status.last_rollback_request


def steps(seen: Observed) -> tuple[int, ...]:
    """The checkpoints that can be gone back to."""
    report = current_report(seen)
    return report.log.checkpoints if report is not None and report.log is not None else seen.job.status.checkpoints


def keep(seen: Observed) -> Keep | None:
    """Return the checkpoint that a worker is to pin: that of a request which no attempt carries yet."""
    return None if _begun(seen) else _request(seen)


def refusal(seen: Observed) -> str:
    """Why a request cannot be carried out; "" if it can, if nobody knows yet, or if there is none."""
    point, words = seen.job.status.restore, "Ask again with a new request"
    known = ", ".join(map(str, steps(seen))) or "none yet"
    if _is_refused(seen) and (rollback := seen.job.spec.rollback) is not None:
        return f"rollback.toStep: there is no checkpoint of step {rollback.to_step}; there are: {known}. {words}"
    if _is_vanished(seen):
        lost = f"checkpoint {point.step} was lost before the job could go back to it"
        return f"rollback.toStep: {lost}; training went on from the newest one. {words}"
    return ""


def pending(seen: Observed) -> RestorePoint | None:
    """The restore point of a request that no attempt carries yet."""
    return None if _begun(seen) else _point(seen)


def revival(seen: Observed) -> RestorePoint | None:
    """The restore point of a request that waits for a job of which nothing runs.

    One that an attempt carried when the job was completed waits still, unless that attempt was opened; if the job failed with it, it
    is over.
    """
    return pending(seen) if _has_failed(seen) or opened(seen) else _point(seen)


def done(seen: Observed) -> str | None:
    """The id of the last request that needs nothing more."""
    rollback, unanswered = seen.job.spec.rollback, _unanswered(seen)
    if rollback is not None and (_is_refused(seen) or not asked(seen)):
        return rollback.request
    if unanswered is not None and (_has_failed(seen) or _is_vanished(seen) or _is_carried_out(seen)):
        return unanswered
    return seen.job.status.last_rollback_request


def outcome(seen: Observed) -> str:
    """Where the rollback that was carried out has led to, for a person: its checkpoint may have turned out to be damaged."""
    step, log = seen.job.status.restore.step, _log(seen)
    if log is None or log.opened_attempt != seen.job.status.attempt or step not in log.quarantined or log.restored_step == step:
        return f"training went on from checkpoint {step}"
    damaged = f"checkpoint {step} was damaged"
    if log.restored_step is None:
        return f"training began anew: {damaged}, and none before it was left"
    return f"training went on from checkpoint {log.restored_step}: {damaged}"


def kept(seen: Observed, wanted: Wanted) -> RestorePoint:
    """Where the next attempt starts if nobody asks for a certain point: a rollback that has begun is not forgotten."""
    begun = wanted.restore.request is not None and seen.job.status.last_rollback_request != wanted.restore.request
    return wanted.restore if begun and done(seen) != wanted.restore.request else RestorePoint()


def remembered(seen: Observed, wanted: Wanted) -> RestorePoint:
    """The restore point for the status. Once a later request is answered, the one that was answered before is not judged again."""
    answered, latest = seen.job.status.last_rollback_request, done(seen)
    is_over = answered is not None and wanted.restore.request == answered != latest
    return wanted.restore.model_copy(update={"request": None}) if is_over else wanted.restore


def carried(seen: Observed, wanted: Wanted) -> Wanted:
    """A new attempt, if a request waits for one."""
    point = pending(seen)
    return wanted if point is None else wanted.with_attempt(seen, point)


def _request(seen: Observed) -> Keep | None:
    """Return the request that is not done, and the checkpoint that it needs."""
    rollback = seen.job.spec.rollback
    return None if rollback is None or not asked(seen) else Keep(step=rollback.to_step, request=rollback.request)


def _point(seen: Observed) -> RestorePoint | None:
    wanted = _request(seen)
    if wanted is None or not _is_there(seen, wanted):
        return None
    return RestorePoint(kind="Step", step=wanted.step, request=wanted.request)


def _is_there(seen: Observed, wanted: Keep) -> bool | None:
    """Return whether the checkpoint is there and stays; None: a worker has yet to say so."""
    report = current_report(seen)
    if _is_at_rest(seen):
        return wanted.step in steps(seen)
    if report is None:
        return None
    if not report.keeps:  # of an older version
        return wanted.step in steps(seen)
    return report.log.found if report.log is not None and report.log.asked == wanted else None


def _is_refused(seen: Observed) -> bool:
    """The spec's request asks for what is not there.

    Of a begun one that is known only when nothing runs any more; once its attempt was opened, the log has the answer.
    """
    wanted = _request(seen)
    if wanted is None or (_begun(seen) and (opened(seen) or not _is_at_rest(seen))):
        return False
    return _is_there(seen, wanted) is False


def _is_vanished(seen: Observed) -> bool:
    """The request that the present attempt carries found no checkpoint: the attempt was opened without it."""
    request, log = _unanswered(seen), _log(seen)
    return log is not None and request is not None and log.missing_request == request


def _is_carried_out(seen: Observed) -> bool:
    """The log says that the present attempt's request is carried out."""
    request, log = _unanswered(seen), _log(seen)
    return log is not None and request is not None and log.request == request


def _log(seen: Observed) -> LogPosition | None:
    """Return what is known of the log of the attempt that the status names."""
    return known_log(seen, Wanted.of(seen.job.status))


def _unanswered(seen: Observed) -> str | None:
    """Return the request that the present attempt carries, if it is not answered, and no later one either."""
    rollback, request = seen.job.spec.rollback, seen.job.status.restore.request
    if request == seen.job.status.last_rollback_request:
        return None
    is_later = rollback is not None and rollback.request != request and not asked(seen)
    return None if is_later else request


def _is_at_rest(seen: Observed) -> bool:
    """Nothing of the job runs, so that nothing can drop a checkpoint: what the status names is there."""
    status = seen.job.status
    ends = (status.condition(kind) for kind in ("Suspended", "Complete", "Failed"))
    return status.attempt == 0 or status.is_released() or any(end is not None and end.status == "True" for end in ends)


def _has_failed(seen: Observed) -> bool:
    failed = seen.job.status.condition("Failed")
    return failed is not None and failed.status == "True"


def _begun(seen: Observed) -> bool:
    rollback = seen.job.spec.rollback
    return rollback is not None and seen.job.status.restore.request == rollback.request
