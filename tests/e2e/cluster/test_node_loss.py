"""A node is cut off, silently, and all on it runs on. What it had is replaced elsewhere; the result is that of a run without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster import layout, network
from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from local_job import until

LOST = "node-1"


@pytest.fixture
def whole(own_cluster: Kube) -> Iterator[Kube]:
    """The cluster, whose nodes are connected again afterwards."""
    yield own_cluster
    network.heal_all()
    until("both nodes are ready", lambda: _ready(own_cluster) == {"node-0": "True", LOST: "True"}, 120)


@pytest.mark.timeout(400)
def test_a_lost_nodes_workers_are_replaced_elsewhere(whole: Kube, make: Make, long: dict[str, Any], undisturbed: str) -> None:
    # Two survivors on a quick machine would end the job before a replacement has started.
    job = make("loses-node", workers__minReplicas=3, workers__template__terminationGracePeriodSeconds=5, **long)
    job.apply()
    with job.witnessed():
        _loses_a_node(whole, job)
    assert job.weights() == undisturbed


def _loses_a_node(whole: Kube, job: ClusterJob) -> None:
    job.commits(100)
    there = [name for name, pod in job.pods().items() if pod["spec"]["nodeName"] == LOST]
    assert there, "the example spreads its workers"
    network.partition(layout.node(LOST))
    until("the node's silence is noticed", lambda: _ready(whole)[LOST] != "True", 60)
    until("its workers are replaced", lambda: _elsewhere(job), 120)
    until("all three train", lambda: job.status()["display"]["workers"] == "3/3", 120)
    until("the lost pods are not counted any more", lambda: not set(there) & _all_pods(job), 120)
    status = job.succeeds()
    assert sum(status["workers"]) >= len(there)
    assert status["failures"] == 0, "it is not the job's fault"


def _ready(kube: Kube) -> dict[str, str]:
    found = {}
    for node in kube.items("nodes"):
        conditions = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
        found[node["metadata"]["name"]] = conditions["Ready"]
    return found


def _elsewhere(job: ClusterJob) -> bool:
    nodes = [pod["spec"].get("nodeName") for pod in job.pods().values()]
    return nodes == ["node-0"] * 3


def _all_pods(job: ClusterJob) -> set[str]:
    items = job.kube.items("pods", "-n", job.namespace, "-l", f"batch.trainingjob.dev/job={job.name}")
    return {item["metadata"]["name"] for item in items}
