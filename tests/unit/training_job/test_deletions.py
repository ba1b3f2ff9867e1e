"""Only a plan that says so deletes a job; a child of a kind without a rule deletes nothing at all."""

from __future__ import annotations

import pytest

from operator_builders import SETTINGS, UID, make_job, make_seen, make_status
from trainingjob_operator.controllers.training_job.cluster.backend import KubernetesCluster
from trainingjob_operator.controllers.training_job.state import Plan, job_key
from trainingjob_operator.engine.cluster.api import ApiError
from trainingjob_operator.engine.values import Deletion
from unit.engine.scripted import Line, Scripted

KEY = job_key("team", "digits")
PODS = "/api/v1/namespaces/team/pods"
JOBS = "/apis/batch.trainingjob.dev/v1alpha1/namespaces/team/trainingjobs"
SEEN = make_seen(make_job(make_status()))


async def act(api: Scripted, plan: Plan) -> None:
    await KubernetesCluster(api, SETTINGS, lambda key: None).act(KEY, SEEN, plan)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["Service", "Secret", "ControllerRevision", "TrainingJob", "pod", ""])
async def test_a_deletion_of_a_kind_without_a_rule_is_an_error_and_deletes_nothing(kind: str) -> None:
    api = Scripted()
    with pytest.raises(ValueError, match=f"{kind} digits: only pods are deleted one by one"):
        await act(api, Plan(status=SEEN.job.status, delete=(Deletion(kind, "digits"),)))
    assert api.asked == []


@pytest.mark.parametrize("answer", [{}, ApiError(404, "NotFound", "gone"), ApiError(409, "Conflict", "another of its name")])
async def test_a_plan_that_deletes_the_job_deletes_the_one_that_it_has_seen_after_its_pods(answer: Line) -> None:
    api = Scripted()
    api.answers = [{}, answer]
    await act(api, Plan(status=SEEN.job.status, delete=(Deletion("Pod", "worker-0"),), delete_job=True))
    assert [(method, path) for method, path, _ in api.asked] == [("DELETE", f"{PODS}/worker-0"), ("DELETE", f"{JOBS}/digits")]
    assert api.bodies[1] == {"preconditions": {"uid": UID}, "propagationPolicy": "Background"}


async def test_a_job_that_may_not_be_deleted_is_tried_again() -> None:
    api = Scripted()
    api.answers = [ApiError(403, "Forbidden", "no")]
    with pytest.raises(ApiError, match="no"):
        await act(api, Plan(status=SEEN.job.status, delete_job=True))
