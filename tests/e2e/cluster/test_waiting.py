"""What a job waits for on a real cluster: an image, a GPU, a quota. It says so, costs no failure, and starts when it may."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from local_job import until

pytestmark = pytest.mark.timeout(300)


def waits(job: ClusterJob) -> dict[str, Any]:
    """The condition Waiting, once it is true."""

    def look() -> dict[str, Any] | None:
        found = next((item for item in job.status().get("conditions", ()) if item["type"] == "Waiting"), None)
        return found if found is not None and found["status"] == "True" else None

    return until(f"{job.name} says what it waits for", look)


def test_an_image_that_does_not_pull(make: Make) -> None:
    job = make("no-image", image="registry.invalid/trainer:none", workers={"replicas": 1, "minReplicas": 1, "gpus": 0})
    job.apply()
    until("the image's name is told", lambda: "registry.invalid/trainer:none" in waits(job)["message"])
    found = waits(job)
    assert found["reason"] == "PodsWaiting"
    assert job.worker(0) in found["message"]
    assert "ErrImagePull" in found["message"] or "ImagePullBackOff" in found["message"]
    status = job.status()
    assert (status["phase"], status.get("failures", 0), status.get("restarts", 0)) == ("Pending", 0, 0)


def test_no_node_has_so_many_gpus(make: Make) -> None:
    job = make("no-gpus", workers={"replicas": 1, "minReplicas": 1, "gpus": 64}, recovery={"startupTimeoutSeconds": 3})
    job.apply()
    found = waits(job)
    assert found["reason"] in ("PodsWaiting", "PodsReleased")
    assert "Insufficient nvidia.com/gpu" in found["message"]
    until("it gives its pods back", lambda: "PodsReleased" in job.events() and job.status().get("placement", {}).get("releases"))
    until("it asks again", lambda: job.status()["workers"] != [0])
    assert job.status().get("failures", 0) == 0


@pytest.fixture
def three_gpus(installed: Kube, team: str) -> Iterator[None]:
    """A quota of three GPUs for the namespace."""
    name = f"gpus-{secrets.token_hex(3)}"
    hard = {"hard": {"requests.nvidia.com/gpu": "3"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": team}, "spec": hard}
    installed.run("kubectl", "apply", "-f", "-", stdin=json.dumps(quota))
    until("it counts", lambda: installed.get("resourcequota", name, "-n", team).get("status", {}).get("hard"))
    yield
    installed.run("kubectl", "delete", "resourcequota", name, "-n", team)


def test_two_jobs_with_room_for_one_and_a_half(make: Make, three_gpus: None) -> None:
    workers = {"replicas": 2, "minReplicas": 2, "gpus": 1}
    jobs = [make(name, workers=workers, recovery={"startupTimeoutSeconds": 20}, training__epochs=2) for name in ("first", "second")]
    for job in jobs:
        job.apply()
    until("one has to wait", lambda: any("QuotaExceeded" in job.events() for job in jobs))
    for job in jobs:
        status = job.succeeds()
        assert status.get("failures", 0) == 0
