"""What of a finished job goes, and when? Pure.

Workers get some time to leave by themselves; the rendezvous stays until they have. Then `podRetention` and
`ttlSecondsAfterFinished` say what stays. What a lost node keeps from going is forced: nothing is left that it could disturb.
"""

from __future__ import annotations

from datetime import datetime

from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pod, Role
from trainingjob_operator.engine.values import Deletion


def is_expired(seen: Observed, now: datetime) -> bool:
    """Return whether the finished job itself is to be deleted."""
    return _expires(seen, now) == 0


def released(seen: Observed, settings: Settings, now: datetime) -> tuple[Deletion, ...]:
    """Return the pods that are to be deleted now. An expired job keeps them until the garbage collector takes them with it."""
    if is_expired(seen, now):
        return ()
    late = grace_left(seen, settings, now) == 0
    left = late or not any(_is_leaving(pod) for pod in seen.pods)
    gone = tuple(Deletion("Pod", pod.name) for pod in seen.pods if not pod.deleting and _goes(seen, pod, late=late, left=left))
    return gone + tuple(Deletion("Pod", pod.name, 0) for pod in seen.pods if pod.deleting and pod.stuck)


def waits(seen: Observed, settings: Settings, now: datetime) -> tuple[float, ...]:
    """Seconds until something is to be done about what is left."""
    grace, expiry = grace_left(seen, settings, now), _expires(seen, now)
    times = [] if expiry is None else [expiry]
    if any(not pod.deleting and (pod.role is Role.RENDEZVOUS or not pod.over()) for pod in seen.pods):
        times.append(grace)
    return tuple(times)


def grace_left(seen: Observed, settings: Settings, now: datetime) -> float:
    """Seconds that workers still have to leave by themselves."""
    finished = seen.job.status.completion_time
    return 0.0 if finished is None else max(0.0, settings.finish_seconds - (now - finished).total_seconds())


def _goes(seen: Observed, pod: Pod, *, late: bool, left: bool) -> bool:
    if pod.role is Role.RENDEZVOUS:
        return left
    if not pod.over():
        return late
    retention = seen.job.spec.pod_retention
    failed = seen.job.status.condition("Failed")
    kept = retention == "Always" or (retention == "OnFailure" and failed is not None and failed.status == "True")
    return not kept


def _is_leaving(pod: Pod) -> bool:
    return pod.role is Role.WORKER and not pod.over()


def _expires(seen: Observed, now: datetime) -> float | None:
    limit, finished = seen.job.spec.ttl_seconds_after_finished, seen.job.status.completion_time
    return None if limit is None or finished is None else max(0.0, limit - (now - finished).total_seconds())
