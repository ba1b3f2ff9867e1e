"""Who may talk to the job's pods: the job's own pods, and the operator to the rendezvous. Pure."""

from __future__ import annotations

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.children import names
from trainingjob_operator.children.metadata import metadata
from trainingjob_operator.settings import Settings
from trainingjob_operator.state import Manifest


def network_policy(job: TrainingJob, settings: Settings) -> Manifest:
    """Ingress to the job's pods. What they reach (storage, data) is not restricted."""
    name = names.base(job.metadata.name, job.metadata.uid)
    own = {"matchLabels": {"app.kubernetes.io/instance": name}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": dict(settings.operator_pod_labels)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(job, name),
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": own}]},
                {"from": [operator], "ports": [{"port": settings.rendezvous_port, "protocol": "TCP"}]},
            ],
        },
    }
