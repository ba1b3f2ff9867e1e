"""Who may talk to the job's pods: the job's own pods, and the operator to the rendezvous. What they may reach, if the job says. Pure."""

from __future__ import annotations

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.workers import Egress
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.metadata import metadata
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.engine.values import Manifest

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes puts it on every namespace, with its name."""
_DNS = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]


def network_policy(job: TrainingJob, settings: Settings) -> Manifest:
    """Ingress to the job's pods; with `spec.network.egress` also what they reach: each other, name servers, and that."""
    name = names.base(job.metadata.name, job.metadata.uid)
    own = {"matchLabels": {"app.kubernetes.io/instance": name}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": dict(settings.operator_pod_labels)}}
    spec: Manifest = {
        "podSelector": own,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": own}]},
            {"from": [operator], "ports": [{"port": settings.rendezvous_port, "protocol": "TCP"}]},
        ],
    }
    egress = job.spec.network.egress
    if egress is not None:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [{"to": [{"podSelector": own}]}, {"ports": _DNS}, *(_destination(one) for one in egress)]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(job, name), "spec": spec}


def _destination(egress: Egress) -> Manifest:
    if egress.cidr is not None:
        peer: Manifest = {"ipBlock": {"cidr": egress.cidr} | ({"except": list(egress.but_not)} if egress.but_not else {})}
    else:
        peer = {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: egress.namespace}}}
        peer |= {"podSelector": {"matchLabels": dict(egress.pod_labels)}} if egress.pod_labels else {}
    ports = [{"port": port, "protocol": "TCP"} for port in egress.ports or ()]
    return {"to": [peer]} | ({"ports": ports} if ports else {})
