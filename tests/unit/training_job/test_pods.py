"""What is kept of a pod: the agent's words, Kubernetes' reasons, and nothing that a user's container could break."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operator_builders import make_condition, make_job, make_rendezvous, make_seen, make_status
from trainingjob_api.contract.runtime import Termination
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.pods import KnownPod, read
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS, PodPhase, Role
from trainingjob_operator.engine.resources import owner
from unit.training_job.manifests import OWNER, manifest

DONE = {"name": "worker", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}


def known(status: dict[str, Any] | None = None, **metadata: Any) -> KnownPod:
    found = read(manifest(status, **metadata))
    assert found is not None
    return found


def container(name: str = "worker", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def failed(**ended: Any) -> dict[str, Any]:
    return {"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 1, "reason": "Error"} | ended)]}


def test_a_worker() -> None:
    found = known()
    pod = found.pod
    assert (pod.node, pod.role, pod.index, pod.incarnation, pod.phase) == ("node-1", Role.WORKER, 2, 3, PodPhase.RUNNING)
    assert not pod.deleting
    assert pod.exit_code is None


def test_a_rendezvous() -> None:
    assert (known(role="rendezvous").pod.role, known(role="rendezvous").pod.incarnation) == (Role.RENDEZVOUS, 4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {}},
        {"labels": None},
        {"labels": {"batch.trainingjob.dev/role": "worker"}},
        {"labels": {"batch.trainingjob.dev/role": "worker", "batch.trainingjob.dev/incarnation": "x"}},
        {"labels": {"batch.trainingjob.dev/role": "cook", "batch.trainingjob.dev/incarnation": "1"}},
    ],
)
def test_labels_of_no_jobs_pod(metadata: dict[str, Any]) -> None:
    assert read(manifest(**metadata)) is None


@pytest.mark.parametrize(
    "references",
    [
        [],
        None,
        [OWNER | {"controller": False}],
        [OWNER | {"kind": "Job"}],
        [OWNER | {"apiVersion": "elsewhere.dev/v1"}],
    ],
)
def test_what_no_job_controls(references: list[dict[str, Any]] | None) -> None:
    assert owner(manifest(ownerReferences=references)["metadata"], TRAINING_JOBS) is None
    assert owner(manifest()["metadata"], TRAINING_JOBS) == ("digits", "job-uid")


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ({"phase": "Pending"}, "", ""),
        ({}, "", ""),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 "}]},
            "Unschedulable",
            "0/3",
        ),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}, "", ""),
        ({"phase": "Pending", "containerStatuses": [container(waiting={"reason": "ContainerCreating"})]}, "", ""),
        (
            {"phase": "Pending", "containerStatuses": [container(waiting={"reason": "ImagePullBackOff", "message": "no image"})]},
            "ImagePullBackOff",
            "no image",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container("init", waiting={"reason": "ErrImagePull"})]},
            "ErrImagePull",
            "",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [container(waiting={"reason": "CreateContainerConfigError", "message": "no secret"})],
            },
            "CreateContainerConfigError",
            "no secret",
        ),
        (
            {"phase": "Running", "containerStatuses": [container("rendezvous", waiting={"reason": "CrashLoopBackOff"})]},
            "CrashLoopBackOff",
            "",
        ),
        (failed(), "", ""),
        (failed(exitCode=137, reason="OOMKilled"), "OOMKilled", ""),
        (failed(exitCode=128, reason="StartError"), "StartError", ""),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted", "low on memory"),
        ({"phase": "Failed", "reason": "NodeShutdown"}, "NodeShutdown", ""),
        (
            failed(exitCode=143) | {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]},
            "Evicted",
            "",
        ),
        (failed() | {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}, "Preempted", ""),
        (failed() | {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]}, "Shutdown", ""),
        (failed() | {"conditions": [{"type": "DisruptionTarget", "status": "False", "reason": "PreemptionByScheduler"}]}, "", ""),
    ],
)
def test_why_it_does_not_run(status: dict[str, Any], reason: str, message: str) -> None:
    pod = known(status).pod
    assert (pod.reason, pod.message) == (reason, message)


def test_a_phase_that_nobody_knows_lets_nothing_be_concluded() -> None:
    assert known({"phase": "Unknown"}).pod.phase is PodPhase.RUNNING
    assert known({}).pod.phase is PodPhase.PENDING


def test_the_last_words() -> None:
    words = Termination(code=64, message="no such task", step=7)
    pod = known(failed(exitCode=64, message=words.model_dump_json())).pod
    assert (pod.exit_code, pod.termination) == (64, words)


@pytest.mark.parametrize("words", ["", "Killed", "[]", "{}", '{"code": "x"}', '{"code": 1}' + " " * 5000, "null", '{"code": 1e400}'])
def test_words_that_are_none(words: str) -> None:
    pod = known(failed(message=words)).pod
    assert (pod.exit_code, pod.termination) == (1, None)


def test_only_the_workers_own_container_counts() -> None:
    statuses = [container("sidecar", terminated={"exitCode": 9}), DONE]
    assert known({"phase": "Succeeded", "containerStatuses": statuses}).pod.exit_code == 0


def test_a_deletion_and_when_its_grace_ends() -> None:
    found = known(deletionTimestamp="2026-01-01T12:00:30Z")
    assert found.pod.deleting
    assert found.gone_by == datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("volume", "holds"),
    [
        ({"persistentVolumeClaim": {"claimName": "data"}}, True),
        ({"ephemeral": {"volumeClaimTemplate": {}}}, True),
        ({"emptyDir": {}}, False),
        ({"configMap": {"name": "x"}}, False),
    ],
)
def test_what_only_one_pod_may_hold(volume: dict[str, Any], holds: bool) -> None:
    given_spec = manifest() | {"spec": {"volumes": [{"name": "data"} | volume]}}
    found = read(given_spec)
    assert found is not None
    assert found.has_volume is holds


@pytest.mark.parametrize(("reason", "misses"), [("CreateContainerConfigError", True), ("ImagePullBackOff", False)])
def test_a_missing_secret(reason: str, misses: bool) -> None:
    assert known({"phase": "Pending", "containerStatuses": [container(waiting={"reason": reason})]}).misses_secret() is misses


WORDS = st.one_of(
    st.text(max_size=200),
    st.builds(
        lambda **fields: json.dumps(fields),
        code=st.integers() | st.floats() | st.text(max_size=5) | st.just(10**1000),
        message=st.text(max_size=3000),
        step=st.none() | st.integers() | st.text(max_size=3),
        done=st.booleans() | st.none(),
    ),
)


@given(words=WORDS, code=st.integers(0, 255))
def test_no_last_words_break_a_pass(words: str, code: int) -> None:
    pod = known(failed(exitCode=code, message=words)).pod
    job = make_job(make_status(workers=[{"index": index, "incarnation": 3} for index in range(3)]))
    seen = make_seen(job, pods=(pod, make_rendezvous()), report=None)
    decided = plan(seen, Settings(), datetime(2026, 1, 1, 13, tzinfo=UTC))
    assert decided.status.model_dump_json()
    assert make_condition("Ready") not in decided.status.conditions
