"""What the rendezvous is told. Pure: a state, made from what is wanted; repeating it is harmless."""

from __future__ import annotations

from dataclasses import replace

from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.messages import Restore, Stop
from trainingjob_operator.controllers.training_job.policy import Course, Decision, rollback
from trainingjob_operator.controllers.training_job.policy.finished import ended
from trainingjob_operator.controllers.training_job.policy.replacement import is_lost_for_good
from trainingjob_operator.controllers.training_job.policy.suspend import is_suspended
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, pods_of, seats
from trainingjob_operator.controllers.training_job.state import Observed, Role


def changes_intent(seen: Observed, decision: Decision) -> bool:
    """The decision wants something else than the status says, which is to be written before anything is done."""
    wanted, before = decision.wanted, Wanted.of(seen.job.status)
    if (wanted.attempt, wanted.restore, wanted.epoch, wanted.incarnations, wanted.stop) != (
        before.attempt,
        before.restore,
        before.epoch,
        before.incarnations,
        before.stop,
    ):
        return True
    if decision.course is Course.ENDED:
        return ended(seen) is None
    if decision.course is Course.RELEASED:
        return not seen.job.status.is_released()
    return decision.course is Course.SUSPENDED and not is_suspended(seen)


def may_follow_children(seen: Observed, decision: Decision) -> bool:
    """Return whether pods may be made before the status that names them, because an operator that takes over would choose other names.

    Of a job's first start no object exists yet: a successor that finds one starts above it. A replaced worker's old pod is over, going or
    gone for good, so a successor replaces it too, and leaves out the incarnation that may have been made (`replacement.replaced`).
    """
    if not seen.children_first or decision.course is not Course.RUNNING:
        return False
    wanted, before = decision.wanted, Wanted.of(seen.job.status)
    if before.attempt == 0:
        return not seen.is_begun()
    same = replace(wanted, incarnations=before.incarnations, unseen=before.unseen, placement=before.placement)
    if seen.inherited or same != replace(before, rendezvous_seen=wanted.rendezvous_seen):
        return False
    pods, known = pods_of(seen, before), dict(before.incarnations)
    replaced = [index for index, incarnation in wanted.incarnations if known.get(index) != incarnation]
    return all(index in seats(seen, before) and is_lost_for_good(pods.get(index)) for index in replaced)


def intent(seen: Observed, decision: Decision) -> Intent | None:
    """The intent; None when nothing of the job is to run, or runs still."""
    if decision.course not in (Course.RUNNING, Course.STOPPING, Course.ENDED):
        return None
    if decision.course is Course.ENDED and not any(pod.role is Role.WORKER and not pod.over() for pod in seen.pods):
        return None
    wanted, workers = decision.wanted, seen.job.spec.workers
    outcome, stop, nodes = decision.outcome, wanted.stop, pods_of(seen, wanted)
    return Intent(
        epoch=wanted.epoch,
        attempt=wanted.attempt,
        restore=Restore(
            kind="Step" if wanted.restore.kind == "Step" else "Latest", step=wanted.restore.step, request=wanted.restore.request
        ),
        workers=tuple(
            WorkerSeat(worker=index, incarnation=incarnation, node=nodes[index].node if index in nodes else "")
            for index, incarnation in seats(seen, wanted).items()
        ),
        replicas=workers.replicas,
        min_workers=min(workers.minimum, workers.replicas),
        processes_per_worker=workers.processes_per_worker,
        build=seen.job.status.build,
        keep=rollback.keep(seen),
        stop=Stop(request=stop.request) if stop is not None else None,
        failed=outcome.message if outcome is not None and not outcome.complete else None,
    )
