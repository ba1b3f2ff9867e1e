"""Has the job waited too long with too few workers? Then it gives its pods back for a while. Pure.

Two jobs that each hold half of what they need would wait for each other for ever. So a job of which some pods are there, and fewer than
minReplicas of them have run for startupTimeoutSeconds, stops in order (what is in memory is saved), gives all pods back, and asks again
after a pause. The pause grows, and no two jobs have the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from trainingjob_api.backoff import Backoff
from trainingjob_api.status import PlacementRecord, StopRecord
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, pods_of, seats
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase

SETTLING_SECONDS = 5.0
"""A pod that is younger is no reason for concern yet: most run by then, and nothing need be written of it."""
FIRST_PAUSE = 0.1
"""Of startupTimeoutSeconds; each further one is twice as long, up to all of it."""


def enough_run(seen: Observed, wanted: Wanted) -> bool:
    """So many workers' pods run that they can train."""
    running = (pod for pod in pods_of(seen, wanted).values() if pod.phase is PodPhase.RUNNING and not pod.deleting)
    return sum(1 for _ in running) >= minimum(seen)


def minimum(seen: Observed) -> int:
    """Workers without whom nothing is trained."""
    workers = seen.job.spec.workers
    return min(workers.minimum, workers.replicas)


def askable(seen: Observed, wanted: Wanted) -> dict[int, int]:
    """Worker -> incarnation of those whose pods may be made now: spares only once enough of the others run."""
    count = None if enough_run(seen, wanted) else seen.job.spec.workers.replicas
    return {index: incarnation for index, incarnation in seats(seen, wanted).items() if count is None or index < count}


def watched(seen: Observed, wanted: Wanted, now: datetime) -> Wanted:
    """The same, and since when there have been pods, but too few that run. A job without pods holds nothing, and may wait for ever."""
    if enough_run(seen, wanted):
        return replace(wanted, placement=None)
    before = wanted.placement or PlacementRecord()
    if before.short_since is None and _settles(seen, wanted, now):
        return wanted
    since = (before.short_since or now) if pods_of(seen, wanted) else None
    record = PlacementRecord(short_since=since, releases=before.releases)
    return replace(wanted, placement=record if since or before.releases else None)


def _settles(seen: Observed, wanted: Wanted, now: datetime) -> bool:
    """All pods are there, and those that do not run yet have just been made."""
    pods = pods_of(seen, wanted)
    waits = [pod for pod in pods.values() if pod.phase is not PodPhase.RUNNING or pod.deleting]
    young = all(pod.created is not None and 0 <= (now - pod.created).total_seconds() < SETTLING_SECONDS for pod in waits)
    return young and len(pods) >= minimum(seen)


def remaining(seen: Observed, wanted: Wanted, now: datetime) -> float | None:
    """Seconds until the pods are given back; None if nothing speaks for it."""
    record = wanted.placement
    if record is None or record.short_since is None or enough_run(seen, wanted) or not pods_of(seen, wanted):
        return None
    return seen.job.spec.recovery.startup_timeout_seconds - (now - record.short_since).total_seconds()


def request(seen: Observed, wanted: Wanted, now: datetime) -> StopRecord | None:
    """The stop after which the pods are given back, once it is time."""
    left = remaining(seen, wanted, now)
    if left is None or left > 0:
        return None
    return StopRecord(request=f"release-{wanted.attempt}-{wanted.epoch}", time=now, reason=Reason.PODS_RELEASED.value, message=_why(seen))


def released(seen: Observed, wanted: Wanted, now: datetime) -> Wanted:
    """The same, with the time at which the pods are asked for again."""
    releases = 1 + (wanted.placement.releases if wanted.placement is not None else 0)
    seconds = pause(seen.job.spec.recovery.startup_timeout_seconds, releases, _jitter(seen.job.metadata.uid, releases))
    return replace(wanted, placement=PlacementRecord(releases=releases, retry_time=now + timedelta(seconds=seconds)))


def gives_back(wanted: Wanted) -> bool:
    """The end in order that is asked for is this one."""
    return wanted.stop is not None and wanted.stop.reason == Reason.PODS_RELEASED


def pause_left(seen: Observed, now: datetime) -> float:
    """Seconds until the pods are asked for again; none are left once the manifest has been changed."""
    record = seen.job.status.placement
    if record is None or record.retry_time is None or seen.job.metadata.generation != seen.job.status.observed_generation:
        return 0.0
    return max(0.0, (record.retry_time - now).total_seconds())


def pause(timeout_seconds: float, releases: int, jitter: float) -> float:
    """Seconds between the `releases`-th time in a row (from 1) and the next try; `jitter` in [0, 1) moves it by half at most."""
    return Backoff(timeout_seconds * FIRST_PAUSE, timeout_seconds).seconds(releases, jitter)


def _jitter(uid: str, releases: int) -> float:
    """In [0, 1): another one for each job and each time, and the same however often a pass is made."""
    return int.from_bytes(hashlib.sha256(f"{uid}/{releases}".encode()).digest()[:4], "big") / 2**32


def _why(seen: Observed) -> str:
    least, limit = minimum(seen), seen.job.spec.recovery.startup_timeout_seconds
    words = f"fewer than workers.minReplicas ({least}) ran for recovery.startupTimeoutSeconds ({limit})"
    waits = seen.job.status.condition("Waiting")
    return f"{words}: {waits.message}" if waits is not None and waits.status == "True" and waits.message else words
