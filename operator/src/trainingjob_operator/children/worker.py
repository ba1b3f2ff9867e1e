"""The pod of one incarnation of a worker: an agent, and what the user's template adds. Pure."""

from __future__ import annotations

from typing import Any

from trainingjob_api.contract.runtime import PREFIX, WorkerEnvironment
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.children import names, secret
from trainingjob_operator.children.metadata import CONTAINER_SECURITY, POD_SECURITY, from_secret, metadata, variables
from trainingjob_operator.children.pinned import Pinned
from trainingjob_operator.identity import Identity
from trainingjob_operator.settings import Settings
from trainingjob_operator.state import Manifest, Role

COMMAND = ["python", "-m", "trainingjob_agent"]
_ELSEWHERE = "-"
"""Stands in the environment's model for what Kubernetes fills in."""


def worker(
    job: TrainingJob, index: int, incarnation: int, rendezvous: str, pinned: Pinned, settings: Settings, identity: Identity
) -> Manifest:
    """The pod of worker `index` in its `incarnation`; it finds the rendezvous at `rendezvous` (host:port)."""
    template = job.spec.workers.template
    own = {
        names.WORKER_INDEX_LABEL: str(index),
        names.INCARNATION_LABEL: str(incarnation),
    }
    given = template.metadata
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": settings.termination_grace_seconds} | template.pod()
    spec |= {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY | spec.get("securityContext", {}),
        "containers": [_container(job, _told(job, index, incarnation, rendezvous, pinned, settings, identity), pinned.image)],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(
            job,
            names.worker(job.metadata.name, job.metadata.uid, index, incarnation),
            Role.WORKER,
            labels=(given.labels if given and given.labels else {}) | own,
            annotations=dict(given.annotations) if given and given.annotations else None,
        ),
        "spec": spec,
    }


def _told(
    job: TrainingJob, index: int, incarnation: int, rendezvous: str, pinned: Pinned, settings: Settings, identity: Identity
) -> dict[str, str]:
    """The agent's environment, but for what Kubernetes fills in: the token and the pod's address."""
    told = WorkerEnvironment(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        job_uid=job.metadata.uid,
        config=pinned.config,
        build=pinned.build,
        worker=index,
        incarnation=incarnation,
        rendezvous=rendezvous,
        rendezvous_certificate=identity.certificate_pem,
        token=_ELSEWHERE,
        address=_ELSEWHERE,
        interface=settings.interface,
    ).to_env()
    del told[f"{PREFIX}TOKEN"], told[f"{PREFIX}ADDRESS"]
    return told


def _container(job: TrainingJob, told: dict[str, str], image: str) -> Manifest:
    workers, name = job.spec.workers, names.base(job.metadata.name, job.metadata.uid)
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
