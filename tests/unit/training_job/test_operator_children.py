"""The manifests of a job's children, whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from operator_builders import SETTINGS, UID, make_job, make_status
from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import Keep
from trainingjob_api.contract.runtime import CONTRACT_VERSION, RendezvousEnvironment, WorkerEnvironment
from trainingjob_api.contract.variables import expand
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children import rendezvous as rendezvous_pods
from trainingjob_operator.controllers.training_job.children import worker as worker_pods
from trainingjob_operator.controllers.training_job.children.network_policy import network_policy
from trainingjob_operator.controllers.training_job.children.pinned import configuration, pin
from trainingjob_operator.controllers.training_job.children.rendezvous import rendezvous
from trainingjob_operator.controllers.training_job.children.revision import pinned, read, revision
from trainingjob_operator.controllers.training_job.children.secret import secret
from trainingjob_operator.controllers.training_job.children.service import address, service
from trainingjob_operator.controllers.training_job.children.worker import worker
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.controllers.training_job.state import Observed
from trainingjob_operator.engine.values import Manifest

IDENTITY = Identity(
    key_id="0123abcd", certificate_pem="CERTIFICATE", private_key_pem="KEY", worker_token="WORKER", operator_token="OPERATOR"
)
BUILD = "0123456789abcdef"
BASE = names.base("digits", UID)
LABELS = {
    "app.kubernetes.io/name": "trainingjob",
    "app.kubernetes.io/instance": BASE,
    "app.kubernetes.io/managed-by": "trainingjob-operator",
    "batch.trainingjob.dev/job": "digits",
}
OWNER = {
    "apiVersion": "batch.trainingjob.dev/v1alpha1",
    "kind": "TrainingJob",
    "name": "digits",
    "uid": UID,
    "controller": True,
    "blockOwnerDeletion": True,
}
TEMPLATE = {
    "metadata": {"labels": {"team": "vision"}, "annotations": {"note": "yes"}},
    "resources": {"requests": {"cpu": 2}, "limits": {"memory": "4Gi"}},
    "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "priorityClassName": "high",
    "nodeSelector": {"disk": "fast"},
    "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": True},
}
STORAGE = {"storage": {"uri": "s3://bucket/digits", "credentialsSecretName": "keys"}}
WORKERS = {"replicas": 3, "gpus": 2, "template": TEMPLATE}


def variable(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def reference(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": names.secret("digits", UID, "0123abcd"), "key": key}}}


def meta(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": "team", "labels": LABELS | labels, "ownerReferences": [OWNER]}


def make_worker(job: TrainingJob, index: int = 0, incarnation: int = 0) -> Manifest:
    template = worker_pods.template(job, "image:1", BUILD, IDENTITY, SETTINGS)
    return worker(job, index, incarnation, template, "{}")


def make_rendezvous(job: TrainingJob, intent: Intent) -> Manifest:
    return rendezvous(job, intent, rendezvous_pods.template(job, IDENTITY, SETTINGS))


def test_what_a_worker_is_told_passes_the_kubelet_unchanged() -> None:
    """The kubelet replaces $(NAME) in values: in the user's that is wanted, in ours it would tear the JSON."""
    job = make_job(workers={"replicas": 1, "template": {"env": [{"name": "A", "value": '"'}, {"name": "B", "value": "$(A)"}]}})
    config = '{"command":["sh","-c","echo $$ $(A)"]}'
    env = worker(job, 0, 0, worker_pods.template(job, "image:1", BUILD, IDENTITY, SETTINGS), config)["spec"]["containers"][0]["env"]
    found: dict[str, str] = {}
    for entry in env:
        found[entry["name"]] = expand(entry.get("value", ""), found)
    assert found["TRAININGJOB_CONFIG"] == config
    assert found["B"] == '"'


def test_worker() -> None:
    job = make_job(workers=WORKERS, checkpoint=STORAGE)
    expected = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(
            f"{BASE}-worker-2-5",
            **{
                "team": "vision",
                "sidecar.istio.io/inject": "false",
                "app.kubernetes.io/component": "worker",
                "batch.trainingjob.dev/role": "worker",
                "batch.trainingjob.dev/worker-index": "2",
                "batch.trainingjob.dev/incarnation": "5",
            },
        )
        | {"annotations": {"linkerd.io/inject": "disabled", "note": "yes"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 60,
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "priorityClassName": "high",
            "nodeSelector": {"disk": "fast"},
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000},
            "containers": [
                {
                    "name": "worker",
                    "image": "image:1",
                    "command": ["python", "-EPum", "trainingjob_agent"],
                    "env": [
                        variable("PYTHONUNBUFFERED", "1"),
                        variable("OMP_NUM_THREADS", "1"),
                        variable("TRAININGJOB_JOB", "team/digits"),
                        variable("TRAININGJOB_JOB_UID", UID),
                        variable("TRAININGJOB_BUILD", BUILD),
                        variable("TRAININGJOB_RENDEZVOUS", f"{BASE}.team.svc:29400"),
                        variable("TRAININGJOB_RENDEZVOUS_CERTIFICATE", "CERTIFICATE"),
                        variable("TRAININGJOB_GRACE_SECONDS", "60.0"),
                        variable("TRAININGJOB_TERMINATION_LOG", "/dev/termination-log"),
                        variable("TRAININGJOB_SCRATCH", "/tmp"),
                        reference("TRAININGJOB_TOKEN", "worker-token"),
                        {"name": "TRAININGJOB_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        variable("TRAININGJOB_WORKER", "2"),
                        variable("TRAININGJOB_INCARNATION", "5"),
                        variable("TRAININGJOB_CONFIG", "{}"),
                    ],
                    "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
                    "resources": {"requests": {"cpu": 2}, "limits": {"memory": "4Gi", "nvidia.com/gpu": 2}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "terminationMessagePolicy": "File",
                }
            ],
        },
    }
    assert make_worker(job, 2, 5) == expected


def test_a_plain_worker_asks_for_nothing_it_was_not_told_to() -> None:
    (container,) = make_worker(make_job())["spec"]["containers"]
    assert "resources" not in container
    assert "envFrom" not in container


def test_the_agent_can_read_what_it_is_told() -> None:
    (container,) = make_worker(make_job(), 1)["spec"]["containers"]
    environment = {entry["name"]: entry.get("value", "filled in") for entry in container["env"]}
    read = WorkerEnvironment.from_env({name: value for name, value in environment.items() if name.startswith("TRAININGJOB_")})
    assert (read.worker, read.token, read.address) == (1, "filled in", "filled in")


def test_a_rendezvous_that_restarts_in_place_asks_for_no_old_checkpoint_to_be_kept() -> None:
    job, asking = make_job(workers=WORKERS), Intent(epoch=4, attempt=2, keep=Keep(step=100, request="again"))
    assert make_rendezvous(job, asking) == make_rendezvous(job, Intent(epoch=4, attempt=2))


def test_rendezvous() -> None:
    job, intent = make_job(workers=WORKERS), Intent(epoch=4, attempt=2)
    expected = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(
            f"{BASE}-rendezvous-4",
            **{
                "sidecar.istio.io/inject": "false",
                "app.kubernetes.io/component": "rendezvous",
                "batch.trainingjob.dev/role": "rendezvous",
                "batch.trainingjob.dev/epoch": "4",
            },
        )
        | {"annotations": {"linkerd.io/inject": "disabled"}},
        "spec": {
            "restartPolicy": "Always",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "priorityClassName": "high",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "rendezvous",
                    "image": SETTINGS.rendezvous_image,
                    "command": ["python", "-EPum", "trainingjob_rendezvous"],
                    "env": [
                        variable("PYTHONUNBUFFERED", "1"),
                        variable("TRAININGJOB_JOB", "team/digits"),
                        variable("TRAININGJOB_JOB_UID", UID),
                        variable("TRAININGJOB_BIND", "0.0.0.0"),
                        variable("TRAININGJOB_PORT", "29400"),
                        variable("TRAININGJOB_CERTIFICATE", "CERTIFICATE"),
                        variable("TRAININGJOB_HEARTBEAT_TIMEOUT_SECONDS", "3.0"),
                        variable("TRAININGJOB_JOIN_WINDOW_SECONDS", "20.0"),
                        reference("TRAININGJOB_PRIVATE_KEY", "private-key"),
                        reference("TRAININGJOB_WORKER_TOKEN", "worker-token"),
                        reference("TRAININGJOB_OPERATOR_TOKEN", "operator-token"),
                        variable("TRAININGJOB_EPOCH", "4"),
                        variable("TRAININGJOB_INTENT", intent.model_dump_json()),
                    ],
                    "ports": [{"name": "rendezvous", "containerPort": 29400, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "terminationMessagePolicy": "File",
                }
            ],
        },
    }
    made = make_rendezvous(job, intent)
    assert made == expected
    told = {entry["name"]: entry.get("value", "filled in") for entry in made["spec"]["containers"][0]["env"]}
    assert RendezvousEnvironment.from_env({name: value for name, value in told.items() if name.startswith("TRAININGJOB_")}).epoch == 4


def test_service() -> None:
    assert service(make_job(), 4, SETTINGS) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(BASE),
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": {
                "app.kubernetes.io/instance": BASE,
                "batch.trainingjob.dev/role": "rendezvous",
                "batch.trainingjob.dev/epoch": "4",
            },
            "ports": [{"name": "rendezvous", "port": 29400, "targetPort": 29400, "protocol": "TCP"}],
        },
    }
    assert address(make_job(), 29400) == f"{BASE}.team.svc:29400"


def test_secret() -> None:
    assert secret(make_job(), IDENTITY) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta(names.secret("digits", UID, "0123abcd"), **{"batch.trainingjob.dev/key-id": "0123abcd"}),
        "type": "Opaque",
        "immutable": True,
        "stringData": {"certificate": "CERTIFICATE", "private-key": "KEY", "worker-token": "WORKER", "operator-token": "OPERATOR"},
    }


def test_network_policy() -> None:
    own = {"matchLabels": {"app.kubernetes.io/instance": BASE}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "trainingjob-operator"}}}
    assert network_policy(make_job(), SETTINGS)["spec"] == {
        "podSelector": own,
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": own}]}, {"from": [operator], "ports": [{"port": 29400, "protocol": "TCP"}]}],
    }


def test_revision() -> None:
    job = make_job(image="image:1")
    kept = pin(Observed(job=job), SETTINGS)
    made = revision(job, kept)
    assert made == {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta(kept.name),
        "revision": 1,
        "data": kept.content(),
    }
    assert {name: made["data"][name] for name in ("image", "imageFrom", "contract", "port", "config")} == {
        "image": "image:1",
        "imageFrom": "Spec",
        "contract": CONTRACT_VERSION,
        "port": 29400,
        "config": configuration(job),
    }
    assert read(made) == kept


HOST_PATH = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
FORGED: dict[str, Callable[[Manifest], Any]] = {
    "another worker": lambda data: data["worker"]["spec"].update(HOST_PATH),
    "a field more": lambda data: data.update(more=1),
    "a field less": lambda data: data.pop("rendezvous"),
    "no data": lambda data: data.clear(),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_revision_that_is_not_what_its_name_says_is_not_read(change: Callable[[Manifest], Any]) -> None:
    made = revision(make_job(), pin(Observed(job=make_job()), SETTINGS))
    change(made["data"])
    assert read(made) is None


def test_a_revision_of_an_operator_that_kept_less_is_not_read() -> None:
    data = {"image": "image:1", "build": BUILD, "contract": CONTRACT_VERSION, "config": {}, "port": 29400}
    assert read(revision(make_job(), pinned(make_job(), data))) is None


def test_only_secret_references_carry_secrets() -> None:
    job = make_job()
    made = [
        make_worker(job),
        make_rendezvous(job, Intent(epoch=1, attempt=1)),
        service(job, 1, SETTINGS),
        network_policy(job, SETTINGS),
        revision(job, pin(Observed(job=job), SETTINGS)),
    ]
    values = {str(entry.get("value")) for manifest in made[:2] for entry in manifest["spec"]["containers"][0]["env"]}
    assert not values & {"KEY", "WORKER", "OPERATOR"}


@pytest.mark.parametrize("name", ["a", "digits", "x" * 63, "ends-with-a-dash-where-it-is-cut-off---x"])
def test_names_fit_and_differ_between_jobs_of_one_name(name: str) -> None:
    longest = names.worker(name, UID, 9999, 99999)
    assert len(longest) <= 63
    assert "--" not in longest.removeprefix(name[:39])
    assert names.base(name, UID) != names.base(name, "another uid")


def test_workers_are_told_the_spec_without_what_is_not_theirs() -> None:
    job = make_job(workers=WORKERS, suspend=True, rollback={"toStep": 1, "request": "a"}, ttlSecondsAfterFinished=5, network={"egress": []})
    config = configuration(job)
    assert set(config) == {"workers", "training", "checkpoint", "recovery", "divergence"}
    assert "template" not in config["workers"]
    assert JobSpec.model_validate(config).training == job.spec.training


def image_and_build(job: TrainingJob, *, anew: bool = False) -> tuple[str, str]:
    content = pin(Observed(job=job), SETTINGS, anew=anew).content()
    return content["image"], content["build"]


def test_image_and_build_stay_what_they_were_when_the_job_started() -> None:
    job = make_job(make_status(image="pinned:1", build="pinned"))
    assert image_and_build(job) == ("pinned:1", "pinned")
    assert image_and_build(make_job())[0] == SETTINGS.default_image
    assert image_and_build(job, anew=True)[1] != "pinned"


def test_another_training_is_another_build() -> None:
    other = {"task": {"class": "trainingjob_trainer.tasks.digits:Digits"}, "epochs": 3}
    assert image_and_build(make_job()) != image_and_build(make_job(training=other))
    assert image_and_build(make_job()) == image_and_build(make_job(workers={"replicas": 9}))
