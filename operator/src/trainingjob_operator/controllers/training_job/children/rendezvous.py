"""The pod of one epoch of the job's rendezvous. Pure.

Small, placed and ranked like the workers, and restarted in place: it is wanted for changes, and outlives every worker.
`template` is made once in a job's life and kept; `rendezvous` makes the pod of every epoch of it.
"""

from __future__ import annotations

from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.runtime import PREFIX, RendezvousEnvironment
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children import names, secret
from trainingjob_operator.controllers.training_job.children.metadata import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    from_secret,
    meshed,
    pod,
    variables,
)
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest

COMMAND = ["python", "-EPum", "trainingjob_rendezvous"]
"""As worker.COMMAND: on one machine the user's folder may be the working folder."""
_ELSEWHERE = "-"
"""Stands in the environment's model for what is filled in elsewhere."""
_SECRETS = {
    "PRIVATE_KEY": secret.PRIVATE_KEY,
    "WORKER_TOKEN": secret.WORKER_TOKEN,
    "OPERATOR_TOKEN": secret.OPERATOR_TOKEN,
}


def template(job: TrainingJob, identity: Identity, settings: Settings) -> Manifest:
    """What all epochs have in common, as a pod template."""
    user = job.spec.workers.template.pod()
    placed = ("tolerations", "priorityClassName", "imagePullSecrets", "schedulerName")
    return {
        "metadata": {
            "labels": meshed(job, "labels") | names.labels(job.metadata.name, job.metadata.uid, Role.RENDEZVOUS),
            "annotations": meshed(job, "annotations"),
        },
        "spec": {field: user[field] for field in placed if field in user}
        | {
            "restartPolicy": "Always",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": dict(POD_SECURITY),
            "containers": [_container(job, identity, settings)],
        },
    }


def rendezvous(job: TrainingJob, intent: Intent, template: Manifest) -> Manifest:
    """The pod of the epoch that `intent` names; `intent` is the first one it has.

    What a rollback asks to keep is left out: the pod would hand it out after every restart in place, long after the rollback is over.
    """
    name, epoch = names.rendezvous(job.metadata.name, job.metadata.uid, intent.epoch), str(intent.epoch)
    told = {f"{PREFIX}EPOCH": epoch, f"{PREFIX}INTENT": intent.model_copy(update={"keep": None}).model_dump_json()}
    return pod(job, name, template, {names.EPOCH_LABEL: epoch}, told)


def _told(job: TrainingJob, certificate: str, settings: Settings) -> dict[str, str]:
    """The part of its environment that is the same in every epoch."""
    recovery = job.spec.recovery
    told = RendezvousEnvironment(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        job_uid=job.metadata.uid,
        epoch=0,
        intent=_ELSEWHERE,
        port=settings.rendezvous_port,
        certificate=certificate,
        private_key=_ELSEWHERE,
        worker_token=_ELSEWHERE,
        operator_token=_ELSEWHERE,
        heartbeat_timeout_seconds=recovery.heartbeat_timeout_seconds,
        join_window_seconds=recovery.join_window_seconds,
    ).to_env()
    absent = {"EPOCH", "INTENT", *_SECRETS}
    return {name: value for name, value in told.items() if name.removeprefix(PREFIX) not in absent}


def _container(job: TrainingJob, identity: Identity, settings: Settings) -> Manifest:
    name = names.secret(job.metadata.name, job.metadata.uid, identity.key_id)
    return {
        "name": "rendezvous",
        "image": settings.rendezvous_image,
        "command": COMMAND,
        "env": [
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            *variables(_told(job, identity.certificate_pem, settings)),
            *(from_secret(PREFIX + field, name, key) for field, key in _SECRETS.items()),
        ],
        "ports": [{"name": "rendezvous", "containerPort": settings.rendezvous_port, "protocol": "TCP"}],
        "resources": {"requests": dict(settings.rendezvous_requests), "limits": dict(settings.rendezvous_limits)},
        "securityContext": CONTAINER_SECURITY | {"readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "File",
    }
