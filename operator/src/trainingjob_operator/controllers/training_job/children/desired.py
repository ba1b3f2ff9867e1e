"""Which children are missing, which are left over. Pure. What is there already is never made again, nor changed but for
the Service, whose selector follows the epoch, and the NetworkPolicy, whose destinations may be edited while the job is suspended: they
are applied before the pod of a new epoch is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainingjob_api.contract.intent import Intent
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.network_policy import network_policy
from trainingjob_operator.controllers.training_job.children.pinned import told
from trainingjob_operator.controllers.training_job.children.rendezvous import rendezvous
from trainingjob_operator.controllers.training_job.children.revision import KIND, revision
from trainingjob_operator.controllers.training_job.children.secret import secret
from trainingjob_operator.controllers.training_job.children.service import service
from trainingjob_operator.controllers.training_job.children.worker import worker
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pinned, Pod, Role
from trainingjob_operator.engine.values import Deletion, Manifest


@dataclass(frozen=True)
class Desired:
    """What is to exist while a job runs."""

    intent: Intent
    """What the rendezvous starts with; names the epoch."""
    workers: Mapping[int, int]
    """Worker -> incarnation."""
    pinned: Pinned
    identity: Identity


def missing(seen: Observed, desired: Desired, settings: Settings, *, workers: bool) -> tuple[Manifest, ...]:
    """What is not there yet, in the order of making; `workers`: their pods too.

    They come after the Service, in the same pass: without it they would look for an address that nobody has.
    """
    settings = settings.model_copy(update={"rendezvous_port": desired.pinned.port})
    made = (*_objects(seen, desired), *_rendezvous(seen, desired, settings))
    return (*made, *_workers(seen, desired)) if workers else made


def strangers(seen: Observed, epoch: int, workers: Mapping[int, int]) -> tuple[Deletion, ...]:
    """Pods of another epoch, of an older incarnation, or of a worker that is not wanted."""
    asked = {(Role.RENDEZVOUS, 0, epoch)} | {(Role.WORKER, index, incarnation) for index, incarnation in workers.items()}
    unwanted = (pod for pod in seen.pods if (pod.role, pod.index if pod.role is Role.WORKER else 0, pod.incarnation) not in asked)
    return tuple(Deletion("Pod", pod.name, 0 if pod.deleting else None) for pod in unwanted if not pod.deleting or _is_fenced(seen, pod))


def _is_fenced(seen: Observed, pod: Pod) -> bool:
    """A pod that a lost node keeps from going, and that can do nothing more: others train without it, or nobody is to.

    It frees what the API server counts (GPUs, quota); what may still run there has no rank, and is named by nobody to commit.
    """
    if not pod.stuck:
        return False
    report, status = seen.report, seen.job.status
    if report is None or report.epoch != status.rendezvous.epoch:
        ends = (status.condition(kind) for kind in ("Suspended", "Complete", "Failed"))
        return status.is_released() or any(found is not None and found.status == "True" for found in ends)
    if pod.role is Role.RENDEZVOUS:
        return True  # a newer epoch's reports
    members = {(member.worker, member.incarnation) for member in report.members}
    return report.stage == "Running" and (pod.index, pod.incarnation) not in members


def _objects(seen: Observed, desired: Desired) -> Iterator[Manifest]:
    job, identity = seen.job, desired.identity
    if (KIND, desired.pinned.name) not in seen.objects:
        yield revision(job, desired.pinned)
    if job.status.key_id not in ("", identity.key_id):
        return  # the key that its pods' Secret is made of is lost
    if ("Secret", names.secret(job.metadata.name, job.metadata.uid, identity.key_id)) not in seen.objects:
        yield secret(job, identity)


def _rendezvous(seen: Observed, desired: Desired, settings: Settings) -> Iterator[Manifest]:
    job, epoch = seen.job, desired.intent.epoch
    name = names.base(job.metadata.name, job.metadata.uid)
    there = any(pod.role is Role.RENDEZVOUS and pod.incarnation == epoch for pod in seen.pods)
    if not there or ("NetworkPolicy", name) not in seen.objects:
        yield network_policy(job, settings)
    if not there or ("Service", name) not in seen.objects:
        yield service(job, epoch, settings)
    if not there:
        yield rendezvous(job, desired.intent, desired.pinned.content()["rendezvous"])


def _workers(seen: Observed, desired: Desired) -> Iterator[Manifest]:
    there = {(pod.index, pod.incarnation) for pod in seen.pods if pod.role is Role.WORKER}
    absent = sorted(set(desired.workers.items()) - there)
    if not absent:
        return
    content = desired.pinned.content()
    config = told(seen.job, content["config"])
    for index, incarnation in absent:
        yield worker(seen.job, index, incarnation, content["worker"], config)
