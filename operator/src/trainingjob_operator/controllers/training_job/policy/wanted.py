"""What policies hand to each other: what is wanted of the cluster, as the status holds it, and how a job ends. Pure.

Policies take a `Wanted` and give back another one. Whatever differs from the status is written there before it takes effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce

from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.log_position import merge
from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.status import PlacementRecord, RestorePoint, Status, StopRecord, WorkerRecord
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed, Pod, Role

HIGHEST = 2**31 - 1
"""No attempt beyond it is believed, whatever a report says."""


@dataclass(frozen=True)
class Outcome:
    """How a job ends: its terminal condition."""

    complete: bool
    """True: Complete; False: Failed."""
    reason: Reason
    message: str


@dataclass(frozen=True)
class Wanted:
    """The part of the status that is intent, not observation."""

    attempt: int = 0
    restore: RestorePoint = field(default_factory=RestorePoint)
    epoch: int = 0
    rendezvous_seen: bool = False
    incarnations: tuple[tuple[int, int], ...] = ()
    """(worker, incarnation) of every worker that ever was, by index; only the first `replicas + spares` are wanted."""
    unseen: frozenset[int] = frozenset()
    """Workers of whose present incarnation no pod has been seen."""
    stop: StopRecord | None = None
    placement: PlacementRecord | None = None
    """Of a job that is short of workers."""

    @classmethod
    def of(cls, status: Status) -> Wanted:
        """What `status` says is wanted."""
        return cls(
            attempt=status.attempt,
            restore=status.restore,
            epoch=status.rendezvous.epoch,
            rendezvous_seen=status.rendezvous.seen,
            incarnations=tuple(sorted((worker.index, worker.incarnation) for worker in status.workers)),
            unseen=frozenset(status.unseen),
            stop=status.stop,
            placement=status.placement,
        )

    def incarnation(self, index: int) -> int | None:
        """The worker's present incarnation; None if it never was."""
        return dict(self.incarnations).get(index)

    def with_workers(self, incarnations: dict[int, int], unseen: Iterable[int]) -> Wanted:
        """The same with other workers."""
        return replace(self, incarnations=tuple(sorted(incarnations.items())), unseen=frozenset(unseen))

    def with_attempt(self, seen: Observed, restore: RestorePoint) -> Wanted:
        """A new line of history from `restore`, above all that status and log know."""
        report = current_report(seen)
        logged = min(report.log.attempt, HIGHEST) if report is not None and report.log is not None else 0
        return replace(self, attempt=max(self.attempt, logged) + 1, restore=restore)

    def records(self) -> tuple[WorkerRecord, ...]:
        """The workers as the status has them."""
        return tuple(WorkerRecord(index=index, incarnation=incarnation) for index, incarnation in self.incarnations)


def current_report(seen: Observed) -> Report | None:
    """The report, if it is the present epoch's."""
    report = seen.report
    return report if report is not None and report.epoch == seen.job.status.rendezvous.epoch else None


def is_unheard_yet(seen: Observed, wanted: Wanted) -> bool:
    """The job's rendezvous has been heard, by an operator before this one, which has just begun.

    It leaves the status as it was: else it would write of every job what it hears better a moment later.
    """
    return seen.report is None and seen.connecting and wanted.rendezvous_seen


def seats(seen: Observed, wanted: Wanted) -> dict[int, int]:
    """Worker -> incarnation of the workers that the spec asks for."""
    workers = seen.job.spec.workers
    count = workers.replicas + workers.spares
    return {index: incarnation for index, incarnation in wanted.incarnations if index < count}


def pods_of(seen: Observed, wanted: Wanted) -> dict[int, Pod]:
    """The pods of the wanted incarnations, by worker."""
    asked = seats(seen, wanted)
    return {pod.index: pod for pod in seen.pods if pod.role is Role.WORKER and asked.get(pod.index) == pod.incarnation}


def done_words(seen: Observed, wanted: Wanted) -> list[Termination]:
    """The last words of those workers who saw the job's end in the log."""
    words = (pod.termination for pod in pods_of(seen, wanted).values())
    return [said for said in words if said is not None and said.done]


def known_log(seen: Observed, wanted: Wanted) -> LogPosition | None:
    """The newest that is known of the log, by the report or by last words: nobody may have listened when the job ended.

    They are merged as a rendezvous merges its agents'.
    """
    report = current_report(seen)
    positions = [words.log for words in done_words(seen, wanted)] + [None if report is None else report.log]
    known = [position for position in positions if position is not None]
    return reduce(merge, known) if known else None


def opened(seen: Observed) -> bool:
    """The present attempt has begun: the status remembers it, the log says so, or steps are being taken in it."""
    status, report = seen.job.status, current_report(seen)
    log = known_log(seen, Wanted.of(status))
    if status.opened_attempt >= status.attempt:
        return True
    if log is not None and (log.opened_attempt == status.attempt or (log.done and log.attempt >= status.attempt)):
        return True
    generation = report.generation if report is not None else None
    if report is None or generation is None:
        return False
    return generation.attempt == status.attempt and report.stage == "Running" and report.step is not None


def made(seen: Observed, wanted: Wanted) -> set[int]:
    """Workers, wanted or not, of whose present incarnation there is a pod."""
    known = dict(wanted.incarnations)
    return {pod.index for pod in seen.pods if pod.role is Role.WORKER and known.get(pod.index) == pod.incarnation}


def rendezvous_pod(seen: Observed, wanted: Wanted) -> Pod | None:
    """The pod of the wanted epoch."""
    return next((pod for pod in seen.pods if pod.role is Role.RENDEZVOUS and pod.incarnation == wanted.epoch), None)
