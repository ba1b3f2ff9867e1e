"""From `kubectl apply` to the end of the first optimiser step: a TrainingJob of two workers, and the same two pods made by hand.

Both run the trainer's image, which is on the nodes; both train the same network with the same optimizer on one processor thread
each, on the real cluster (`make cluster`), in turns. The clock is the machine's own: it is read here before `kubectl apply`, and in
rank 0's process after the step. The pods made by hand import torch and its optimizer, meet over gloo and a headless Service, and step;
they have no rendezvous, no data set and no storage.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bench.figure import Figure, Sample, Target
from cluster.layout import ENVIRONMENT
from e2e.cluster import release
from e2e.cluster.kube import Kube, environment, kube_of
from local_job import load

TURNS = 6
"""The first of them is not counted: it finds the nodes' file caches cold."""
WORKERS = 2
STEPPED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) INFO \S+: step 1 of 1\b")
KIND = "trainingjobs.batch.trainingjob.dev"
PEER = "pods made by hand"
SCRIPT = textwrap.dedent("""
    import time
    import torch
    import torch.distributed as dist
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.01)
    dist.init_process_group("gloo")
    torch.nn.functional.cross_entropy(model(torch.randn(48, 64)), torch.randint(10, (48,))).backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()
    optimizer.step()
    print(f"stepped {time.time():.3f}", flush=True)
    dist.barrier()
""")


def measure() -> list[Figure]:
    """The figure `first-step`."""
    if not ENVIRONMENT.exists():
        sys.exit("first-step is measured on the test cluster, which is not up: `make cluster`")
    kube = kube_of(environment(ENVIRONMENT))
    release.install(kube)
    ours: list[float] = []
    peers: list[float] = []
    with namespace(kube) as team:
        for turn in range(TURNS):
            both: list[tuple[list[float], Callable[[Kube, str, str], float]]] = [(ours, job), (peers, pods_by_hand)]
            for found, run in both if turn % 2 else reversed(both):
                found.append(run(kube, team, f"turn-{turn}"))
    return [
        Figure(
            name="first-step",
            figure="apply → first step, warm image, 2 workers",
            unit="s",
            ours=Sample.of(ours[1:]),
            peer_name=PEER,
            peer=Sample.of(peers[1:]),
            targets=(Target("ratio", at_most=1.3),),
        )
    ]


@contextmanager
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace for restricted pods, with the keys to the bucket; it goes with all that is in it, and so does what the bucket got."""
    name = f"bench-{secrets.token_hex(3)}"
    kube.run("kubectl", "create", "namespace", name)
    try:
        kube.run("kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        keys = {"AWS_ACCESS_KEY_ID": kube.storage.access_key, "AWS_SECRET_ACCESS_KEY": kube.storage.secret_key}
        literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
        kube.run("kubectl", "-n", name, "create", "secret", "generic", "s3-credentials", *literals)
        yield name
    finally:
        kube.run("kubectl", "delete", "namespace", name, "--timeout=120s", seconds=150)
        bucket = kube.storage.client()
        for key in kube.storage.list(f"{name}/"):
            bucket.delete_object(Bucket=kube.storage.bucket, Key=key)


def job(kube: Kube, team: str, name: str) -> float:
    """Seconds from apply to the first step of a TrainingJob; it is removed again."""
    manifest = load("digits-gpu.yaml")
    manifest["metadata"]["name"] = name
    spec = manifest["spec"]
    spec["podRetention"] = "Always"  # for rank 0's log
    spec["workers"] = {"replicas": WORKERS, "minReplicas": WORKERS, "template": {"topologySpreadConstraints": spread(name)}}
    del spec["training"]["epochs"]
    spec["training"]["steps"] = 1
    spec["checkpoint"]["storage"] = {
        "uri": f"s3://{kube.storage.bucket}/{team}/{name}",
        "endpointUrl": kube.storage.endpoint,
        "region": "us-east-1",
        "credentialsSecretName": "s3-credentials",
    }
    began = apply(kube, team, manifest)
    kube.run("kubectl", "-n", team, "wait", KIND, name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=110s")
    label = f"batch.trainingjob.dev/job={name},batch.trainingjob.dev/worker-index=0"
    log = kube.run("kubectl", "-n", team, "logs", "-l", label, "--tail=-1")
    found = STEPPED.search(log)
    assert found, f"rank 0 has told of no step:\n{log}"
    kube.run("kubectl", "-n", team, "delete", KIND, name)
    kube.run("kubectl", "-n", team, "wait", "pods", "-l", f"batch.trainingjob.dev/job={name}", "--for=delete", "--timeout=60s")
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp() - began


def pods_by_hand(kube: Kube, team: str, name: str) -> float:
    """Seconds from apply to the first step of two pods and their Service; they are removed again."""
    name = f"by-hand-{name}"
    items = [_service(name), *(_pod(name, rank) for rank in range(WORKERS))]
    began = apply(kube, team, {"apiVersion": "v1", "kind": "List", "items": items})
    kube.run("kubectl", "-n", team, "wait", f"pod/{name}-0", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=110s")
    log = kube.run("kubectl", "-n", team, "logs", f"{name}-0")
    found = re.search(r"^stepped (\d+\.\d+)$", log, re.MULTILINE)
    assert found, f"rank 0 has told of no step:\n{log}"
    kube.run("kubectl", "-n", team, "delete", "pods,services", "-l", f"batch.trainingjob.dev/job={name}", "--timeout=60s")
    return float(found[1]) - began


def apply(kube: Kube, team: str, manifest: dict[str, Any]) -> float:
    """`kubectl apply`; the time just before it, in seconds since 1970."""
    began = time.time()
    kube.run("kubectl", "-n", team, "apply", "-f", "-", stdin=json.dumps(manifest))
    return began


def spread(name: str) -> list[dict[str, Any]]:
    """One worker on each node, as far as there is room."""
    chosen = {"matchLabels": {"batch.trainingjob.dev/job": name}}
    return [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": chosen}]


def _service(name: str) -> dict[str, Any]:
    labels = {"batch.trainingjob.dev/job": name}
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": [{"name": "store", "port": 29500}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _pod(name: str, rank: int) -> dict[str, Any]:
    variables = {"MASTER_ADDR": f"{name}-0.{name}", "MASTER_PORT": "29500", "RANK": str(rank), "WORLD_SIZE": str(WORKERS)}
    container = {
        "name": "worker",
        "image": ":".join(release.reference("trainer")),
        "command": ["python", "-c", SCRIPT],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "hostname": f"{name}-{rank}",
        "subdomain": name,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": spread(name),
        "containers": [container],
    }
    metadata = {"name": f"{name}-{rank}", "labels": {"batch.trainingjob.dev/job": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
