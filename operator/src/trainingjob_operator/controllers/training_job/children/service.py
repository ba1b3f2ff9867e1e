"""The Service before the job's rendezvous. Pure.

Its selector pins the epoch: whatever an older rendezvous still believes, nobody new reaches it.
"""

from __future__ import annotations

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.metadata import metadata
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest


def service(job: TrainingJob, epoch: int, settings: Settings) -> Manifest:
    """The Service of the rendezvous in its `epoch`."""
    name = names.base(job.metadata.name, job.metadata.uid)
    port = settings.rendezvous_port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(job, name),
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": {
                "app.kubernetes.io/instance": name,
                names.ROLE_LABEL: Role.RENDEZVOUS.value,
                names.EPOCH_LABEL: str(epoch),
            },
            "ports": [{"name": "rendezvous", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def address(job: TrainingJob, port: int) -> str:
    """host:port of the rendezvous, as pods of the job's namespace resolve it."""
    return f"{names.base(job.metadata.name, job.metadata.uid)}.{job.metadata.namespace}.svc:{port}"
