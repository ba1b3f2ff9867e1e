"""Manifests that cannot run, that are another controller's, that are to wait, or that come again: what is made, and what never is."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.installation import make_namespace
from integration.operator.builders import JOB, job
from integration.operator.program import Operator
from integration.operator.team import OBJECTS, Team
from integration.rest import Rest
from local_job import until
from unit.api.cases import Invalid
from unit.api.refused import INVALID

SETTINGS = {"finishSeconds": 0.2}
UNSEEN = [case for case in INVALID if not case.server and case.id not in ("infinite-parameter", "nested-infinite-parameter", "rate-nan")]
"""What the API server cannot refuse, and JSON can say."""
GPUS = {"gpus": 1, "template": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}}


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.id)
def test_what_the_api_server_cannot_refuse_is_told_and_not_run(lasting: Operator, team: Team, case: Invalid) -> None:
    team.jobs.made(case.body())
    until("it is told", lambda: team.condition("Valid").get("status") == "False")
    found = team.condition("Valid")
    assert found["reason"] == "Invalid"
    assert case.field in found["message"]
    assert case.message in found["message"]
    assert all(owners == [] for owners in team.owners().values())
    until("the event", lambda: team.reasons() == ["Invalid"])


def test_a_corrected_manifest_runs(lasting: Operator, team: Team) -> None:
    team.jobs.made(job(**GPUS))
    until("it is told", lambda: team.condition("Valid").get("status") == "False")
    assert "spec.workers.template.resources.limits: nvidia.com/gpu is set by workers.gpus; remove one" in team.condition("Valid")["message"]
    assert team.living() == set()
    team.spec(suspend=True)
    team.spec(workers={"template": {"resources": None}})
    until("it may be run", lambda: team.condition("Valid")["status"] == "True")
    team.spec(suspend=False)
    until("its pods", team.seen)
    worker = next(iter(team.kubelet.pods().values()))
    assert worker["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_a_suspended_job_made_wrong_does_not_go_on(lasting: Operator, team: Team) -> None:
    team.jobs.made(job(gpus=1))
    until("its pods", team.seen)
    team.spec(suspend=True)
    for name in team.kubelet.pods():
        team.kubelet.say(name, "Succeeded")
    until("it is suspended", lambda: team.holds("Suspended") and not team.living())
    team.spec(workers={"template": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}})
    team.spec(suspend=False)
    until("it is told", lambda: team.condition("Valid").get("status") == "False")
    assert team.holds("Suspended")
    assert team.living() == set()
    team.spec(suspend=True)
    team.spec(workers={"template": {"resources": None}})
    team.spec(suspend=False)
    until("it goes on", lambda: team.living() == {"rendezvous-2", "worker-0-1", "worker-1-1"})


def test_the_longest_name_and_a_storage_in_another_script(lasting: Operator, team: Team) -> None:
    name = "a" * 63
    manifest = job(name, template={"metadata": {"annotations": {"note": "für später"}}, "env": [{"name": "GRUSS", "value": "grüß"}]})
    manifest["spec"]["checkpoint"]["storage"]["uri"] = "s3://bucket/日本/データ"
    team.jobs.made(manifest)
    until("its pods", lambda: team.seen(name))
    assert {len(owners) for owners in team.owners().values()} == {1, 3}
    pod = next(iter(team.kubelet.pods().values()))
    assert max(len(word) for word in (pod["metadata"]["name"], *pod["metadata"]["labels"].values())) <= 63
    config = next(entry["value"] for entry in pod["spec"]["containers"][0]["env"] if entry["name"] == "TRAININGJOB_CONFIG")
    assert json.loads(config)["checkpoint"]["storage"]["uri"] == "s3://bucket/日本/データ"


def test_an_edit_that_may_not_be_is_refused_and_one_that_may_be_is_carried_out(lasting: Operator, team: Team) -> None:
    team.jobs.made(job())
    until("its pods", team.seen)
    before = {name: pod["metadata"]["uid"] for name, pod in team.kubelet.pods().items()}
    for change, says in (
        ({"training": {"seed": 8}}, "spec.training.seed: Forbidden: cannot be changed; make a new job"),
        ({"image": "another"}, "spec.image: Forbidden: can be changed only while suspend is true"),
        (
            {"workers": {"template": {"priorityClassName": "vip"}}},
            "spec.workers.template: Forbidden: can be changed only while suspend is true",
        ),
    ):
        answer = team.jobs.patch(JOB, {"spec": change})
        assert answer.code == 422
        assert says in answer.message
    team.spec(workers={"replicas": 3})
    until("a third worker", lambda: "worker-2-0" in team.living())
    assert before.items() <= {name: pod["metadata"]["uid"] for name, pod in team.kubelet.pods().items()}.items(), "no pod was touched"


def test_made_again_under_its_name_at_once(lasting: Operator, team: Team) -> None:
    first = team.jobs.made(job())["metadata"]["uid"]
    until("its pods", team.seen)
    team.kubelet.run_all()
    before = {name: pod["metadata"]["uid"] for name, pod in team.kubelet.pods().items()}
    team.delete()
    second = team.jobs.made(job())["metadata"]["uid"]
    until("the new one's pods", team.seen)
    both = {"Pod": sorted([first, second] * 3)} | {kind: sorted([first, second]) for kind in OBJECTS}
    assert {kind: sorted(owners) for kind, owners in team.owners().items()} == both
    assert before.items() <= {name: pod["metadata"]["uid"] for name, pod in team.kubelet.pods().items()}.items()
    services = team.rest("GET", OBJECTS["Service"].format(team.namespace)).body["items"]
    assert len({service["spec"]["selector"]["app.kubernetes.io/instance"] for service in services}) == 2
    status = team.status()
    assert (status["attempt"], status["workers"], status.get("restarts", 0)) == (1, [0, 0], 0)
    for name in before:
        team.kubelet.say(name, "Failed", exit_code=64)
    marker = team.jobs.made(job("marker"))["metadata"]["name"]
    until("later news have been dealt with", lambda: team.seen(marker))
    assert team.status()["workers"] == [0, 0], "the old one's pods mean nothing to the new one"
    assert not team.holds("Failed")


def test_another_controllers_job_is_not_touched(lasting: Operator, team: Team, api_server: ApiServer) -> None:
    manifest = job()
    manifest["spec"]["managedBy"] = "kueue.x-k8s.io/multikueue"
    mark = api_server.mark()
    team.jobs.made(manifest)
    team.jobs.made(job("ours"))
    until("a job of ours runs beside it", lambda: team.seen("ours"))
    assert team.status() == {}
    written = [event for event in api_server.audit(mark) if event.agent == "trainingjob-operator" and event.namespace == team.namespace]
    assert written
    assert not [event for event in written if event.name.startswith(JOB)]


def test_suspended_at_creation_makes_nothing_and_then_everything(lasting: Operator, team: Team) -> None:
    manifest = job()
    manifest["spec"]["suspend"] = True
    team.jobs.made(manifest)
    until("it is suspended", lambda: team.holds("Suspended"))
    assert team.status()["phase"] == "Suspended"
    assert all(owners == [] for owners in team.owners().values())
    team.spec(suspend=False)
    until("its pods", team.seen)
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-0"}


def finish(team: Team, **spec: Any) -> None:
    """A job is done."""
    manifest = job()
    manifest["spec"] |= spec
    team.jobs.made(manifest)
    until("its pods", team.seen)
    team.kubelet.run_all()
    for name in team.kubelet.pods():
        team.kubelet.say(name, "Succeeded", words='{"code": 0, "done": true}')
    until("it is complete", lambda: team.holds("Complete") or not team.status())


def test_a_finished_job_is_deleted_after_its_time(lasting: Operator, team: Team) -> None:
    finish(team, ttlSecondsAfterFinished=1)
    until("it is gone", lambda: not team.rest("GET", f"{team.jobs.path}/{JOB}").ok)


def test_a_finished_job_gives_its_pods_back(lasting: Operator, team: Team) -> None:
    finish(team, podRetention="Never")
    until("its pods are gone", lambda: team.pods() == {})
    assert team.status()["phase"] == "Succeeded"
    assert team.rest("GET", f"{team.jobs.path}/{JOB}").ok


def test_one_name_in_two_namespaces(lasting: Operator, team: Team, rest: Rest) -> None:
    other = Team(rest, make_namespace(rest, f"team-{secrets.token_hex(4)}"))
    uids = {place.namespace: place.jobs.made(job())["metadata"]["uid"] for place in (team, other)}
    for place in (team, other):
        until("its pods", place.seen)
        assert place.owners()["Pod"] == [uids[place.namespace]] * 3
    team.kubelet.remove(team.name("worker-0-0"))
    until("another one", lambda: team.is_at([1, 0]))
    assert other.is_at([0, 0])
