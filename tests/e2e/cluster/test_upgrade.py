"""`helm upgrade` and `helm rollback` with a job in flight: no pod of it is touched, and new ones are made as its first ones were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.cluster.conftest import Make
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube
from e2e.cluster.release import DEPLOYMENT, NAMESPACE, RELEASE
from local_job import ROOT, until
from operator_made import common

OTHERS = {
    "config.terminationGraceSeconds": "7",
    "config.rendezvousPort": "7000",
    "config.rendezvousRequests.cpu": "60m",
    "config.interface": "eth7",
}
OTHER_TEXTS = {"trainerImage.tag": "nowhere", "podLabels.version": "two"}


@dataclass(frozen=True)
class Release:
    """The operator's release, shared by all tests."""

    kube: Kube

    def revision(self) -> int:
        """The newest, as helm counts."""
        history = json.loads(self.kube.run("helm", "history", RELEASE, "-n", NAMESPACE, "-o", "json"))
        return int(history[-1]["revision"])

    def upgrade(self) -> None:
        """To the other values."""
        flags = [word for name, value in OTHERS.items() for word in ("--set", f"{name}={value}")]
        flags += [word for name, value in OTHER_TEXTS.items() for word in ("--set-string", f"{name}={value}")]
        self._helm("upgrade", RELEASE, str(ROOT / "helm/trainingjob-operator"), "--reuse-values", *flags)

    def roll_back(self, revision: int) -> None:
        """To an earlier revision's values."""
        self._helm("rollback", RELEASE, str(revision))

    def _helm(self, *words: str) -> None:
        self.kube.run("helm", *words, "-n", NAMESPACE, "--wait", "--timeout", "120s", seconds=180)

    def configuration(self) -> dict[str, Any]:
        """What the operator's pod has mounted."""
        (name,) = (
            volume["configMap"]["name"]
            for volume in self.kube.get("deployment", DEPLOYMENT, "-n", NAMESPACE)["spec"]["template"]["spec"]["volumes"]
            if "configMap" in volume
        )
        (text,) = self.kube.get("configmap", name, "-n", NAMESPACE)["data"].values()
        found: dict[str, Any] = json.loads(text)
        return found

    def operators(self) -> set[str]:
        """The uids of the operator's pods that are not going."""
        items = self.kube.items("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")
        return {item["metadata"]["uid"] for item in items if "deletionTimestamp" not in item["metadata"]}


@pytest.fixture
def release(installed: Kube) -> Iterator[Release]:
    """It has its values again in the end."""
    found = Release(installed)
    before = found.revision()
    yield found
    if found.revision() != before and found.configuration()["terminationGraceSeconds"] == 7:
        found.roll_back(before)


def alike(pod: dict[str, Any]) -> dict[str, Any]:
    """What it has in common with all of its role, wherever it runs."""
    found = common(pod)
    del found["spec"]["nodeName"]
    return found


def replaced(job: ClusterJob, role: str, lost: str) -> dict[str, Any]:
    """A pod is deleted; the one that runs instead."""
    before = set(job.pods(role))
    job.delete_pod(lost)

    def successor() -> dict[str, Any] | None:
        new = [pod for name, pod in job.pods(role).items() if name not in before]
        return new[0] if new and new[0]["status"]["phase"] == "Running" else None

    found: dict[str, Any] = until("its successor runs", successor)
    return found


def whole(job: ClusterJob) -> bool:
    """All three train, and the operator hears of it."""
    status = job.status()
    assert status["phase"] not in ("Succeeded", "Failed"), "the job is to be in flight all the while"
    reporting = next(found["status"] for found in status["conditions"] if found["type"] == "Reporting")
    return bool(status["readyWorkers"] == 3 and reporting == "True")


@pytest.mark.timeout(600)
def test_an_upgrade_and_a_rollback_leave_a_job_alone(release: Release, make: Make, long: dict[str, Any]) -> None:
    job = make("upgraded", **long | {"training__epochs": 100_000})
    job.apply()
    until("all train", lambda: job.status().get("phase") == "Running" and whole(job), 120)
    original, operators, before = release.revision(), release.operators(), job.lives()
    worker, rendezvous = job.pods()[job.worker(1)], next(iter(job.pods("rendezvous").values()))
    pinned = {name: job.status()[name] for name in ("image", "build", "revision")}

    release.upgrade()
    assert (release.configuration()["terminationGraceSeconds"], release.configuration()["defaultImage"][-8:]) == (7, ":nowhere")
    assert not release.operators() & operators, "another operator runs"
    until("it reports to the new one", lambda: whole(job))
    assert job.lives() == before
    assert alike(replaced(job, "worker", job.worker(1))) == alike(worker)
    until("all train again", lambda: whole(job))

    untouched = job.lives()
    release.roll_back(original)
    until("it reports to the old one", lambda: whole(job))
    assert job.lives() == untouched
    assert alike(replaced(job, "rendezvous", next(iter(job.pods("rendezvous"))))) == alike(rendezvous)

    told = job.status()["step"]
    until("it trains on", lambda: job.status()["step"] > told)
    status = job.status()
    assert {name: status[name] for name in pinned} == pinned
    assert (status["restarts"], status["attempt"]) == (1, 1)
