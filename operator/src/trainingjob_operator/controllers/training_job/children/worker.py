"""The pod of one incarnation of a worker: an agent, and what the user's template adds. Pure.

`template` is made once in a job's life and kept; `worker` makes every pod of it, in whatever version of the operator.
"""

from __future__ import annotations

from typing import Any

from trainingjob_api.contract.runtime import PREFIX, WorkerEnvironment
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
from trainingjob_operator.controllers.training_job.children.service import address
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest

COMMAND = ["python", "-EPum", "trainingjob_agent"]
"""Neither PYTHONPATH nor the working folder, which are the user's, are where the agent looks for modules."""
_ELSEWHERE = "-"
"""Stands in the environment's model for what is filled in elsewhere."""
_NOT_IN_THE_TEMPLATE = ("TOKEN", "ADDRESS", "WORKER", "INCARNATION", "CONFIG")
"""Of the agent's variables: what Kubernetes fills in, and what is each worker's own."""


def template(job: TrainingJob, image: str, build: str, identity: Identity, settings: Settings) -> Manifest:
    """What all workers have in common, as a pod template."""
    user = job.spec.workers.template
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": settings.termination_grace_seconds} | user.pod()
    told = _told(job, build, identity.certificate_pem, settings, spec["terminationGracePeriodSeconds"])
    spec |= {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY | spec.get("securityContext", {}),
        "containers": [_container(job, told, image, identity.key_id)],
    }
    given = user.metadata
    own = names.labels(job.metadata.name, job.metadata.uid, Role.WORKER)
    labels = meshed(job, "labels") | (given.labels if given and given.labels else {}) | own
    annotations = meshed(job, "annotations") | (given.annotations if given and given.annotations else {})
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def worker(job: TrainingJob, index: int, incarnation: int, template: Manifest, config: str) -> Manifest:
    """The pod of worker `index` in its `incarnation`, which is told `config`."""
    name = names.worker(job.metadata.name, job.metadata.uid, index, incarnation)
    own = {names.WORKER_INDEX_LABEL: str(index), names.INCARNATION_LABEL: str(incarnation)}
    told = {f"{PREFIX}WORKER": str(index), f"{PREFIX}INCARNATION": str(incarnation), f"{PREFIX}CONFIG": config}
    return pod(job, name, template, own, told)


def _told(job: TrainingJob, build: str, certificate: str, settings: Settings, grace: float) -> dict[str, str]:
    """The part of the agent's environment that all workers share."""
    told = WorkerEnvironment(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        job_uid=job.metadata.uid,
        config=_ELSEWHERE,
        build=build,
        worker=0,
        incarnation=0,
        rendezvous=address(job, settings.rendezvous_port),
        rendezvous_certificate=certificate,
        token=_ELSEWHERE,
        address=_ELSEWHERE,
        interface=settings.interface,
        grace_seconds=grace,
    ).to_env()
    return {name: value for name, value in told.items() if name.removeprefix(PREFIX) not in _NOT_IN_THE_TEMPLATE}


def _container(job: TrainingJob, told: dict[str, str], image: str, key_id: str) -> Manifest:
    workers, name = job.spec.workers, names.secret(job.metadata.name, job.metadata.uid, key_id)
    user = workers.template.container()
    resources: dict[str, Any] = dict(user.pop("resources", {}))
    if workers.gpus:
        resources["limits"] = resources.get("limits", {}) | {workers.gpu_resource_name: workers.gpus}
    credentials = job.spec.checkpoint.storage.credentials_secret_name
    sources = user.pop("envFrom", []) + ([{"secretRef": {"name": credentials}}] if credentials else [])
    container: dict[str, Any] = {
        "name": "worker",
        "image": image,
        "command": COMMAND,
        "env": [
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            *user.pop("env", []),
            *variables(told),
            from_secret(f"{PREFIX}TOKEN", name, secret.WORKER_TOKEN),
            {"name": f"{PREFIX}ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "securityContext": CONTAINER_SECURITY | user.pop("securityContext", {}),
        "terminationMessagePolicy": "File",
    }
    return container | user | ({"envFrom": sources} if sources else {}) | ({"resources": resources} if resources else {})
