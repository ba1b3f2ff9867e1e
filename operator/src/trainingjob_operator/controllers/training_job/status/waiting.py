"""What a job waits for that is not its own doing: quota, admission, a place, an image. Pure."""

from __future__ import annotations

from trainingjob_operator.controllers.training_job.policy import Decision
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed

_QUOTA = "exceeded quota"


def obstacle(seen: Observed) -> tuple[Reason, str] | None:
    """Why not all pods run, for programs and for a person; None if nothing is in the way."""
    if seen.refused:
        return (Reason.QUOTA_EXCEEDED if _QUOTA in seen.refused else Reason.REFUSED), seen.refused
    pod = next((pod for pod in seen.pods if pod.reason and pod.reason != NODE_LOST and not pod.over() and not pod.deleting), None)
    if pod is None:
        return None
    return Reason.PODS_WAITING, f"{pod.name}: {pod.reason}" + (f": {pod.message}" if pod.message else "")


def released(decision: Decision) -> str:
    """Why the pods are given back, and when they are asked for again."""
    stop, record = decision.wanted.stop, decision.wanted.placement
    again = f", and asked for again at {record.retry_time:%H:%M:%S} UTC" if record is not None and record.retry_time is not None else ""
    return f"{stop.message if stop is not None else 'too few workers ran'}; the pods are given back{again}"
