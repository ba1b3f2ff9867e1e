"""Another version of the operator, with other settings, takes over: no pod is touched, and a job's pods are made as its first ones were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operator_builders import NOW, OTHERS, SETTINGS, make_condition, make_job, make_report, make_seen, make_spec, make_status
from operator_made import common
from operator_world import World
from trainingjob_operator.controllers.training_job.children import rendezvous as rendezvous_pods
from trainingjob_operator.controllers.training_job.children import revision, worker
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Role
from trainingjob_operator.engine.values import Manifest


def begun(**spec: Any) -> World:
    """A job whose pods run."""
    world = World()
    world.edit(**spec)
    go_on(world, 4)
    assert world.running
    return world


def go_on(world: World, steps: int) -> None:
    for _ in range(steps):
        world.operate()
        world.start_pods()
        world.train()
        world.deliver()
        world.pass_time(1.0)
        world.end_deleting()


def replaced(world: World, role: Role) -> Manifest:
    """A pod of the role is lost; the one that is made instead."""
    before = len(world.made.pods)
    world.vanish(next(pod.name for pod in world.pods.values() if pod.role is role))
    go_on(world, 2)
    assert len(world.made.pods) == before + 1
    return world.made.last(role)


def suspended(world: World, **changes: Any) -> None:
    """The job is suspended, changed, and goes on."""
    world.edit(suspend=True)
    go_on(world, 4)
    assert world.status.phase == "Suspended"
    world.edit(suspend=False, **changes)
    go_on(world, 4)
    assert world.running


def variables(pod: Manifest) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in pod["spec"]["containers"][0]["env"]}


def refuse(*_: Any) -> Manifest:
    raise AssertionError("the template is made anew")


def test_another_operator_finds_nothing_to_do() -> None:
    world = begun()
    pods, status = dict(world.pods), world.status
    world.settings = OTHERS
    assert (world.operate().create, world.pods) == ((), pods)
    assert (world.status.image, world.status.build, world.status.revision) == (status.image, status.build, status.revision)


@pytest.mark.parametrize("role", Role)
def test_a_replacement_is_made_as_the_first_pod_was(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    world = begun(workers={"replicas": 3, "template": {"metadata": {"labels": {"team": "vision"}, "annotations": {"note": "yes"}}}})
    first = world.made.last(role)
    world.settings = OTHERS
    monkeypatch.setattr(worker, "template", refuse)
    monkeypatch.setattr(rendezvous_pods, "template", refuse)
    another = replaced(world, role)
    assert another["metadata"]["name"] != first["metadata"]["name"]
    assert common(another) == common(first)
    own = {"TRAININGJOB_WORKER", "TRAININGJOB_INCARNATION", "TRAININGJOB_EPOCH", "TRAININGJOB_INTENT"}
    assert {name for name, value in variables(another).items() if variables(first)[name] != value} <= own


def test_the_service_keeps_the_port_that_workers_know() -> None:
    world = begun()
    world.settings = OTHERS
    replaced(world, Role.RENDEZVOUS)
    (service,) = (made for (kind, _), made in world.objects.items() if kind == "Service")
    assert service["spec"]["selector"]["batch.trainingjob.dev/epoch"] == "2"
    assert service["spec"]["ports"][0]["port"] == SETTINGS.rendezvous_port


def test_another_life_is_made_from_the_present_settings_and_keeps_its_image() -> None:
    world = begun()
    first, rendezvous, revision_name = world.made.last(Role.WORKER), world.made.last(Role.RENDEZVOUS), world.status.revision
    world.settings = OTHERS
    suspended(world)
    second = world.made.last(Role.WORKER)
    assert world.status.revision != revision_name
    assert second["spec"]["terminationGracePeriodSeconds"] == 7 != first["spec"]["terminationGracePeriodSeconds"]
    assert second["spec"]["containers"][0]["image"] == first["spec"]["containers"][0]["image"] == SETTINGS.default_image
    images = [pod["spec"]["containers"][0]["image"] for pod in (rendezvous, world.made.last(Role.RENDEZVOUS))]
    assert images == [SETTINGS.rendezvous_image, "operator:2"]


def test_the_same_life_again_is_the_same_revision() -> None:
    world = begun()
    suspended(world)
    assert len([name for kind, name in world.objects if kind == revision.KIND]) == 1


CHANGES = {
    "another template": ({"workers": {"replicas": 3, "template": {"nodeSelector": {"disk": "fast"}}}}, "a:1", {"disk": "fast"}),
    "another image": ({"image": "a:2"}, "a:2", None),
    "no image": ({"image": None}, SETTINGS.default_image, None),
}


@pytest.mark.parametrize(("changes", "image", "selector"), CHANGES.values(), ids=CHANGES.keys())
def test_what_was_changed_while_suspended_holds_in_the_next_life(changes: dict[str, Any], image: str, selector: Any) -> None:
    world = begun(image="a:1")
    suspended(world, **changes)
    pod = world.made.last(Role.WORKER)
    assert (pod["spec"]["containers"][0]["image"], world.status.image, pod["spec"].get("nodeSelector")) == (image, image, selector)


def test_a_lost_revision_is_resolved_again_with_the_image_that_the_status_has() -> None:
    world = begun()
    name = world.status.revision
    world.settings = OTHERS
    del world.objects[revision.KIND, name]
    go_on(world, 2)
    assert world.status.revision != name
    assert (revision.KIND, world.status.revision) in world.objects
    world.made.begin()
    pod = replaced(world, Role.WORKER)
    assert pod["spec"]["containers"][0]["image"] == SETTINGS.default_image
    assert pod["spec"]["terminationGracePeriodSeconds"] == 7


def test_a_forged_revision_is_not_used() -> None:
    world = begun()
    forged = world.objects[revision.KIND, world.status.revision]
    forged["data"]["worker"]["spec"]["hostNetwork"] = True
    assert "hostNetwork" not in replaced(world, Role.WORKER)["spec"]
    assert "hostNetwork" not in replaced(world, Role.RENDEZVOUS)["spec"]


def test_a_new_pod_is_told_what_may_change_at_any_time_and_nothing_that_its_version_does_not_know() -> None:
    world = begun()
    content = world.objects[revision.KIND, world.status.revision]["data"]
    config = content["config"] | {"recovery": {"startupTimeoutSeconds": 600}}  # an older version had no other field
    older = revision.pinned(world.job(), content | {"config": config})
    world.objects[revision.KIND, older.name] = revision.revision(world.job(), older)
    world.status = world.status.model_copy(update={"revision": older.name})
    world.edit(recovery={"maxFailures": 9, "startupTimeoutSeconds": 900}, workers={"replicas": 4, "minReplicas": 2})
    go_on(world, 2)
    told = json.loads(variables(world.made.last(Role.WORKER))["TRAININGJOB_CONFIG"])
    assert told == make_spec(recovery={"startupTimeoutSeconds": 900}, workers={"replicas": 4, "minReplicas": 2})


@pytest.mark.parametrize("settings", [SETTINGS, OTHERS], ids=["as it was", "with other settings"])
def test_an_operator_that_was_killed_before_it_made_anything_leaves_the_choice_to_the_next(settings: Settings) -> None:
    world = World()
    world.children_first = False
    world.operate(killed_after=1)
    world.settings = settings
    go_on(world, 3)
    assert world.made.last(Role.WORKER)["spec"]["terminationGracePeriodSeconds"] == settings.termination_grace_seconds
    assert {name for kind, name in world.objects if kind == revision.KIND} == {world.status.revision}


NEWER = make_condition("Balanced", reason="EvenShares", message="every worker does the same")


def test_a_condition_of_a_newer_version_stays_as_it_is() -> None:
    status = make_status(conditions=(NEWER, make_condition("Ready", reason="Training")))
    decided = plan(make_seen(make_job(status), report=make_report(stage="Over")), SETTINGS, NOW).status
    assert decided.condition("Balanced") == NEWER
    assert decided.condition("Ready") != status.condition("Ready")


def test_an_end_with_a_reason_of_a_newer_version_stays_an_end_even_where_the_manifest_cannot_be_read() -> None:
    status = make_status(conditions=(make_condition("Complete", reason="Converged"),), completion_time=NOW)
    unread = plan(make_seen(make_job(status), problem="spec: Field novelty unknown"), SETTINGS, NOW).status
    assert unread.condition("Complete") == status.conditions[0]
    again = plan(make_seen(make_job(unread)), SETTINGS, NOW)
    assert (again.status.attempt, again.status.phase, again.create) == (1, "Succeeded", ())


def test_a_phase_of_a_newer_version_is_told_anew_and_its_row_of_the_ledger_stays() -> None:
    status = make_status(phase="Balancing", ledger={"Balancing": 10.0, "Training": 5.0})
    decided = plan(make_seen(make_job(status)), SETTINGS, NOW).status
    assert decided.phase == "Running"
    assert decided.ledger["Balancing"] == 10.0
