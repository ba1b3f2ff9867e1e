"""Which workers are to be replaced, and why? Pure. Only on evidence, or after long silence; never because of slowness.

Evidence: the pod has failed, has ended too early, is going, or is gone; or its node is lost, and the rendezvous does not hear of it any
more. Silence counts only while the rendezvous reports: without its word nobody is known to be silent.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, current_report, made, pods_of, seats
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed, Pod, PodPhase, Role

GONE = "its pod is gone"
DELETED = "its pod is being deleted"


@dataclass(frozen=True)
class Loss:
    """A worker that needs another pod."""

    index: int
    why: str
    """For a person."""
    pod: Pod | None
    """The lost one, if it is still to be seen."""
    silent: bool = False


def losses(seen: Observed, wanted: Wanted) -> tuple[Loss, ...]:
    """The workers to replace, by index."""
    pods = pods_of(seen, wanted)
    found = (_loss(seen, wanted, index, pods.get(index)) for index in sorted(seats(seen, wanted)))
    return tuple(loss for loss in found if loss is not None)


def replaced(seen: Observed, wanted: Wanted, lost: tuple[Loss, ...]) -> Wanted:
    """The lost workers under their next incarnation; of the others it is noted whose pods have been seen."""
    again = {loss.index for loss in lost}
    incarnations = {
        index: _next_incarnation(seen, index, incarnation) if index in again else incarnation for index, incarnation in wanted.incarnations
    }
    return wanted.with_workers(incarnations, (wanted.unseen - made(seen, wanted)) | again)


def skipped(seen: Observed, wanted: Wanted) -> Wanted:
    """The same without the incarnations that an operator before this one may have given to replacements, and not noted.

    Used where no replacement is made: the job stops, and a later life must not take such a number. Pods that are still going may be
    saving, and are waited for under their own.
    """
    if not seen.inherited:
        return wanted
    pods, known = pods_of(seen, wanted), seats(seen, wanted)
    lost = {index for index in known if index not in wanted.unseen and ((pod := pods.get(index)) is None or pod.over())}
    return wanted.with_workers({index: number + (index in lost) for index, number in wanted.incarnations}, wanted.unseen - lost)


def is_lost_for_good(pod: Pod | None) -> bool:
    """Return whether a worker's pod has ended, is going or is gone: whoever looks later sees the same."""
    return pod is None or pod.over() or pod.deleting


def _next_incarnation(seen: Observed, index: int, incarnation: int) -> int:
    """Return the worker's next incarnation: that of a pod which an operator before this one made and did not note, else one nobody had.

    Such a pod may have come and gone unseen, so an operator that takes over leaves one number out. No incarnation ever has two pods.
    """
    made = max((pod.incarnation for pod in seen.pods if pod.role is Role.WORKER and pod.index == index), default=0)
    return made if made > incarnation else incarnation + (2 if seen.inherited else 1)


def _loss(seen: Observed, wanted: Wanted, index: int, pod: Pod | None) -> Loss | None:
    if pod is None:
        return None if index in wanted.unseen else Loss(index, GONE, None)
    if pod.deleting:
        return Loss(index, DELETED, pod)
    if pod.over():
        words = pod.termination.message if pod.termination is not None and pod.termination.message else pod.message or pod.reason
        ending = "ended too early" if pod.phase is PodPhase.SUCCEEDED else f"failed with exit code {pod.exit_code}"
        return Loss(index, f"it {ending}" + (f": {words}" if words else ""), pod)
    if pod.reason == NODE_LOST and not is_heard(seen, pod):
        return Loss(index, pod.message, pod)
    silence = _silence(seen, pod)
    limit = seen.job.spec.recovery.replace_after_seconds
    return Loss(index, f"it has been silent for {silence:.0f} s", pod, silent=True) if silence >= limit else None


def is_heard(seen: Observed, pod: Pod) -> bool:
    """The rendezvous counts the pod among its members."""
    report = current_report(seen)
    if not seen.reporting or report is None:
        return False
    return any((member.worker, member.incarnation) == (pod.index, pod.incarnation) for member in report.members)


def _silence(seen: Observed, pod: Pod) -> float:
    if not seen.reporting or current_report(seen) is None or pod.phase is not PodPhase.RUNNING:
        return 0.0
    return seen.silent_seconds.get(pod.index, 0.0)
