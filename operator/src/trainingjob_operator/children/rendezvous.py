"""The pod of one epoch of the job's rendezvous. Pure.

Small, placed and ranked like the workers, and restarted in place: it is wanted for changes, and outlives every worker.
"""

from __future__ import annotations

from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.runtime import PREFIX, RendezvousEnvironment
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.children import names, secret
from trainingjob_operator.children.metadata import CONTAINER_SECURITY, POD_SECURITY, from_secret, metadata, variables
from trainingjob_operator.settings import Settings
from trainingjob_operator.state import Manifest, Role

COMMAND = ["python", "-m", "trainingjob_rendezvous"]
_ELSEWHERE = "-"
"""Stands in the environment's model for what Kubernetes fills in."""
_SECRETS = {
    "PRIVATE_KEY": secret.PRIVATE_KEY,
    "WORKER_TOKEN": secret.WORKER_TOKEN,
    "OPERATOR_TOKEN": secret.OPERATOR_TOKEN,
}


def rendezvous(job: TrainingJob, intent: Intent, certificate: str, settings: Settings) -> Manifest:
    """The pod of the epoch that `intent` names; `intent` is the first one it has."""
    name = names.rendezvous(job.metadata.name, job.metadata.uid, intent.epoch)
    template = job.spec.workers.template.pod()
    placed = ("tolerations", "priorityClassName", "imagePullSecrets", "schedulerName")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(job, name, Role.RENDEZVOUS, labels={names.EPOCH_LABEL: str(intent.epoch)}),
        "spec": {field: template[field] for field in placed if field in template}
        | {
            "restartPolicy": "Always",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": dict(POD_SECURITY),
            "containers": [_container(job, intent, certificate, settings)],
        },
    }


def environment(job: TrainingJob, intent: Intent, certificate: str, settings: Settings) -> RendezvousEnvironment:
    """What the rendezvous is told, but for the secrets that Kubernetes fills in."""
    recovery = job.spec.recovery
    return RendezvousEnvironment(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        job_uid=job.metadata.uid,
        epoch=intent.epoch,
        intent=intent.model_dump_json(),
        port=settings.rendezvous_port,
        certificate=certificate,
        private_key=_ELSEWHERE,
        worker_token=_ELSEWHERE,
        operator_token=_ELSEWHERE,
        heartbeat_timeout_seconds=recovery.heartbeat_timeout_seconds,
        join_window_seconds=recovery.join_window_seconds,
    )


def _container(job: TrainingJob, intent: Intent, certificate: str, settings: Settings) -> Manifest:
    name = names.base(job.metadata.name, job.metadata.uid)
    told = environment(job, intent, certificate, settings).to_env()
    for field in _SECRETS:
        del told[PREFIX + field]
    return {
        "name": "rendezvous",
        "image": settings.rendezvous_image,
        "command": COMMAND,
        "env": [
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            *variables(told),
            *(from_secret(PREFIX + field, name, key) for field, key in _SECRETS.items()),
        ],
        "ports": [{"name": "rendezvous", "containerPort": settings.rendezvous_port, "protocol": "TCP"}],
        "resources": {"requests": dict(settings.rendezvous_requests), "limits": dict(settings.rendezvous_limits)},
        "securityContext": CONTAINER_SECURITY | {"readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "File",
    }
