"""From running to suspended and back; and every other end in order, such as the save before a failure. Pure.

The request is in the status before the rendezvous is told. It ends when the rendezvous says that all have left, when no
worker runs any more, or after a time limit: a broken store must not keep GPUs for ever. Once asked for it is carried
through, even if the user has changed their mind: the job then starts again by itself.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from trainingjob_api.spec.job import JobSpec
from trainingjob_api.status import SUSPEND, StopRecord
from trainingjob_operator.controllers.training_job.policy import rollback
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, current_report, made, pods_of
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase


def request(seen: Observed, now: datetime) -> StopRecord:
    """The stop that `suspend: true` asks for; its id is that of the manifest's generation."""
    words = "the script is told to end; then the pods are given back" if seen.job.spec.training.script is not None else ""
    return StopRecord(request=f"suspend-{seen.job.metadata.generation}", time=now, reason=SUSPEND, message=words)


def reached(seen: Observed, wanted: Wanted, stop: StopRecord, settings: Settings, now: datetime) -> bool:
    """All have left, or need not be waited for."""
    report = current_report(seen)
    if report is not None and report.stopped == stop.request:
        return True
    runs = (pod for pod in pods_of(seen, wanted).values() if not pod.over() and pod.phase is not PodPhase.PENDING)
    return not any(runs) or remaining(seen, stop, settings, now) <= 0


def remaining(seen: Observed, stop: StopRecord, settings: Settings, now: datetime) -> float:
    """Seconds until the time limit."""
    return limit_seconds(seen.job.spec, settings) - (now - stop.time).total_seconds()


def limit_seconds(spec: JobSpec, settings: Settings) -> float:
    """How long an end in order may take. A script has its pod's grace, however long the user has made that."""
    grace = spec.workers.template.termination_grace_period_seconds or settings.termination_grace_seconds
    return max(settings.suspend_timeout_seconds, grace if spec.training.script is not None else 0.0)


def is_suspended(seen: Observed) -> bool:
    """The status says that nothing of the job runs."""
    condition = seen.job.status.condition("Suspended")
    return condition is not None and condition.status == "True"


def restarted(seen: Observed, wanted: Wanted) -> Wanted:
    """A new life for a job of which nothing runs: every pod anew, and a new attempt from a checkpoint."""
    fresh = replace(wanted, epoch=wanted.epoch + 1, rendezvous_seen=False, stop=None)
    unused = wanted.unseen - made(seen, wanted)
    incarnations = {index: incarnation + (index not in unused) for index, incarnation in wanted.incarnations}
    point = rollback.revival(seen) or rollback.kept(seen, wanted)
    return fresh.with_workers(incarnations, incarnations).with_attempt(seen, point)
