"""What a job's pods may reach, and that no service mesh comes between them."""

from __future__ import annotations

from operator_builders import SETTINGS, UID, make_job
from trainingjob_api.contract.intent import Intent
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children import rendezvous as rendezvous_pods
from trainingjob_operator.controllers.training_job.children import worker as worker_pods
from trainingjob_operator.controllers.training_job.children.network_policy import network_policy
from trainingjob_operator.controllers.training_job.children.rendezvous import rendezvous
from trainingjob_operator.controllers.training_job.children.worker import worker
from trainingjob_operator.controllers.training_job.identity import derive

IDENTITY = derive(b"key", UID)
BASE = names.base("digits", UID)
EGRESS = [
    {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"], "ports": [443]},
    {"namespace": "storage", "podLabels": {"app": "minio"}, "ports": [9000, 9001]},
    {"namespace": "data"},
]


def test_what_the_pods_may_reach_is_what_the_job_lists_beside_each_other_and_name_servers() -> None:
    spec = network_policy(make_job(network={"egress": EGRESS}), SETTINGS)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [
        {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": BASE}}}]},
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}],
            "ports": [{"port": 443, "protocol": "TCP"}],
        },
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}},
                    "podSelector": {"matchLabels": {"app": "minio"}},
                }
            ],
            "ports": [{"port": 9000, "protocol": "TCP"}, {"port": 9001, "protocol": "TCP"}],
        },
        {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}]},
    ]
    assert spec["ingress"] == network_policy(make_job(), SETTINGS)["spec"]["ingress"]


def test_an_empty_list_leaves_the_job_and_name_servers() -> None:
    spec = network_policy(make_job(network={"egress": []}), SETTINGS)["spec"]
    assert (spec["policyTypes"], len(spec["egress"])) == (["Ingress", "Egress"], 2)


def test_a_template_may_ask_a_service_mesh_in() -> None:
    said = {"labels": {"sidecar.istio.io/inject": "true"}, "annotations": {"linkerd.io/inject": "enabled"}}
    job = make_job(workers={"replicas": 1, "template": {"metadata": said}})
    made = [
        worker(job, 0, 0, worker_pods.template(job, "image:1", "b", IDENTITY, SETTINGS), "{}"),
        rendezvous(job, Intent(epoch=1, attempt=1), rendezvous_pods.template(job, IDENTITY, SETTINGS)),
    ]
    for pod in made:
        assert pod["metadata"]["labels"].items() >= said["labels"].items()
        assert pod["metadata"]["annotations"] == said["annotations"]
