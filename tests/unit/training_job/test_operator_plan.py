"""One pass: what is wanted is written before it is done; nothing is done twice; nothing makes it raise."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes

from operator_builders import (
    ADDRESS,
    CREATED,
    NOW,
    SETTINGS,
    UID,
    make_condition,
    make_failed,
    make_job,
    make_pod,
    make_rendezvous,
    make_report,
    make_seen,
    make_status,
)
from trainingjob_api.contract.intent import Report
from trainingjob_api.status import CONDITIONS, PlacementRecord, Status, StopRecord
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.pinned import pin
from trainingjob_operator.controllers.training_job.identity import derive, key_id
from trainingjob_operator.controllers.training_job.plan import plan, preview
from trainingjob_operator.controllers.training_job.state import Observed, Plan, Pod, PodPhase, Role, job_key
from trainingjob_operator.engine.controller import reconcile
from trainingjob_operator.engine.values import Deletion, ResourceKey

START = Observed(job=make_job())
COMPLETE = make_status(phase="Succeeded", conditions=(make_condition("Complete", reason="Succeeded"),), completion_time=NOW)
FAILED = make_status(phase="Failed", conditions=(make_condition("Failed", reason="UserError", message="no"),), completion_time=NOW)


def kinds(created: Any) -> list[str]:
    return [manifest["kind"] for manifest in created]


def settled(job: Any) -> Any:
    """The job with the status that a pass over its healthy self writes."""
    return job.model_copy(update={"status": plan(make_seen(job), SETTINGS, NOW).status})


def test_the_first_pass_writes_only_the_status() -> None:
    first = plan(START, SETTINGS, NOW)
    assert (first.create, first.delete, first.intent, first.requeue_after) == ((), (), None, 0.0)
    assert (first.status.attempt, first.status.rendezvous.epoch, first.status.phase) == (1, 1, "Pending")
    assert [event.reason for event in first.events] == ["Created"]


def test_the_second_pass_makes_everything_the_workers_after_the_service_that_they_look_for() -> None:
    there = Observed(job=START.job.model_copy(update={"status": plan(START, SETTINGS, NOW).status}))
    second = plan(there, SETTINGS, NOW)
    assert kinds(second.create) == ["ControllerRevision", "Secret", "NetworkPolicy", "Service", "Pod", *["Pod"] * 3]


def test_a_preview_is_what_a_new_jobs_passes_make() -> None:
    names = [manifest["metadata"]["name"] for manifest in preview(make_job(), SETTINGS, NOW)]
    assert [name.partition("digits-")[2][6:] for name in names[4:]] == ["rendezvous-1", "worker-0-0", "worker-1-0", "worker-2-0"]


def test_a_healthy_job_needs_nothing() -> None:
    job = settled(make_job(make_status()))
    objects = frozenset(
        (manifest["kind"], manifest["metadata"]["name"])
        for manifest in plan(make_seen(job), SETTINGS, NOW).create
        if manifest["kind"] != "Pod"
    )
    last = plan(make_seen(job, objects=objects), SETTINGS, NOW)
    assert last.status == job.status
    assert (last.create, last.delete, last.events) == ((), (), ())
    assert last.requeue_after == SETTINGS.progress_seconds


def test_a_lost_worker_is_written_first_and_replaced_then() -> None:
    pods = (make_pod(0), make_failed(1, 1, "boom"), make_pod(2), make_rendezvous())
    job = settled(make_job(make_status()))
    first = plan(make_seen(job, pods=pods), SETTINGS, NOW)
    assert (first.create, first.delete, first.requeue_after) == ((), (), 0.0)
    assert [event.reason for event in first.events] == ["WorkerLost", "WorkerReplaced"]
    second = plan(make_seen(job.model_copy(update={"status": first.status}), pods=pods), SETTINGS, NOW)
    assert [manifest["metadata"]["name"][13:] for manifest in second.create if manifest["kind"] == "Pod"] == ["worker-1-1"]
    assert second.delete == (Deletion("Pod", "worker-1-0"),)
    assert second.events == ()


def test_a_new_epochs_service_is_applied_before_its_pod_is_made() -> None:
    seen = make_seen(make_job(make_status(rendezvous={"epoch": 2, "seen": False}, build="b")))
    decided = plan(seen, SETTINGS, NOW)
    made = decided.create
    order = [(manifest["kind"], manifest["metadata"]["name"][12:]) for manifest in made][-2:]
    assert order == [("Service", ""), ("Pod", "-rendezvous-2")]
    assert next(manifest for manifest in made if manifest["kind"] == "Service")["spec"]["selector"]["batch.trainingjob.dev/epoch"] == "2"
    assert Deletion("Pod", "rendezvous-1") in decided.delete


def test_what_pods_may_reach_is_said_anew_with_a_new_epoch() -> None:
    """It may be edited while the job is suspended."""
    job = make_job(make_status(rendezvous={"epoch": 2, "seen": False}, build="b"), network={"egress": []})
    objects = frozenset((kind, names.base("digits", UID)) for kind in ("NetworkPolicy", "Service"))
    made = plan(make_seen(job, objects=objects), SETTINGS, NOW).create
    assert kinds(made)[-3:] == ["NetworkPolicy", "Service", "Pod"]
    assert next(manifest for manifest in made if manifest["kind"] == "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]


NEW, OLD = b"the newer key, 32 bytes and more", b"the older key, 32 bytes and more"
ROTATED = SETTINGS.model_copy(update={"operator_key": SecretBytes(NEW), "older_keys": (SecretBytes(OLD),)})


def secrets_of(made: tuple[Any, ...]) -> dict[str, set[str]]:
    """Kind -> the Secrets that the objects are or name."""
    found: dict[str, set[str]] = {}
    for manifest in made:
        if manifest["kind"] == "Secret":
            found["Secret"] = {manifest["metadata"]["name"]}
        for variable in manifest["spec"]["containers"][0]["env"] if manifest["kind"] == "Pod" else ():
            if "secretKeyRef" in variable.get("valueFrom", {}):
                role = manifest["metadata"]["labels"]["batch.trainingjob.dev/role"]
                found.setdefault(role, set()).add(variable["valueFrom"]["secretKeyRef"]["name"])
    return found


def test_a_running_job_keeps_the_key_it_started_with() -> None:
    job = make_job(make_status(key_id=key_id(OLD)))
    made = plan(make_seen(job, pods=()), ROTATED, NOW)
    assert made.status.key_id == key_id(OLD)
    again = plan(make_seen(job.model_copy(update={"status": made.status}), pods=()), ROTATED, NOW)
    name = names.secret("digits", UID, key_id(OLD))
    assert secrets_of(again.create) == {"Secret": {name}, "rendezvous": {name}, "worker": {name}}
    secret = next(manifest for manifest in again.create if manifest["kind"] == "Secret")
    assert secret["stringData"]["worker-token"] == derive(OLD, UID).worker_token


def test_a_new_job_and_one_that_goes_on_take_the_newest_key() -> None:
    assert plan(START, ROTATED, NOW).status.key_id == key_id(NEW)
    suspended = make_condition("Suspended")
    resting = make_status(key_id=key_id(OLD), conditions=(suspended,), phase="Suspended")
    going_on = plan(make_seen(make_job(resting), pods=(), report=None, reporting=False), ROTATED, NOW)
    assert (going_on.status.key_id, going_on.requeue_after) == (key_id(NEW), 0.0)
    begun = make_job(going_on.status)
    assert secrets_of(plan(make_seen(begun, pods=(), report=None), ROTATED, NOW).create)["Secret"] == {
        names.secret("digits", UID, key_id(NEW))
    }


def test_a_key_that_is_lost_stops_no_pass_and_is_not_forgotten() -> None:
    """Pods go on with it, and so do their replacements, whose Secret is there; should it come back, they are heard again."""
    lost = SETTINGS.model_copy(update={"operator_key": SecretBytes(b"a key that nobody has any more")})
    begun = make_job(make_status(key_id=key_id(lost.keys[0])))
    kept = pin(make_seen(begun), lost)
    job = begun.model_copy(update={"status": begun.status.model_copy(update={"revision": kept.name})})
    seen = make_seen(job, pods=(make_rendezvous(),), pinned=kept)
    made = plan(seen, ROTATED, NOW)
    assert made.status.key_id == key_id(lost.keys[0])
    again = plan(replace(seen, job=job.model_copy(update={"status": made.status})), ROTATED, NOW)
    name = names.secret("digits", UID, key_id(lost.keys[0]))
    assert secrets_of(again.create) == {"worker": {name}}, "no Secret of another key"


def test_the_intent_says_all_that_is_wanted() -> None:
    intent = plan(make_seen(make_job(make_status(stop=StopRecord(request="suspend-3", time=NOW)), suspend=True)), SETTINGS, NOW).intent
    assert intent is not None
    assert intent.model_dump(mode="json") == {
        "type": "intent",
        "epoch": 1,
        "attempt": 1,
        "restore": {"kind": "Latest", "step": None, "request": None},
        "workers": [{"worker": index, "incarnation": 0, "node": ""} for index in range(3)],
        "replicas": 3,
        "min_workers": 2,
        "processes_per_worker": 1,
        "build": "build",
        "save": None,
        "keep": None,
        "stop": {"request": "suspend-3", "save": True},
        "failed": None,
    }


def test_a_suspended_job_gives_all_pods_back() -> None:
    status = make_status(phase="Suspended", conditions=(make_condition("Suspended"),), stop=StopRecord(request="suspend-1", time=NOW))
    decided = plan(make_seen(make_job(status, suspend=True)), SETTINGS, NOW)
    assert {deletion.name for deletion in decided.delete} == {"worker-0-0", "worker-1-0", "worker-2-0", "rendezvous-1"}
    assert (decided.create, decided.intent) == ((), None)


OVER = (make_failed(0, 0), make_failed(1, 0), make_failed(2, 0), make_rendezvous())
LEAVING = (make_failed(0, 0), make_pod(1), make_pod(2), make_rendezvous())
WORKERS = ["worker-0-0", "worker-1-0", "worker-2-0"]
RETENTION = {
    "workers leave by themselves": (COMPLETE, LEAVING, {}, 0, ["worker-0-0"]),
    "but not for ever": (COMPLETE, LEAVING, {}, 60, [*WORKERS, "rendezvous-1"]),
    "then the rendezvous may go": (COMPLETE, OVER, {}, 0, [*WORKERS, "rendezvous-1"]),
    "a failed job's pods stay": (FAILED, OVER, {}, 0, ["rendezvous-1"]),
    "all stay": (COMPLETE, OVER, {"podRetention": "Always"}, 0, ["rendezvous-1"]),
    "none stay": (FAILED, OVER, {"podRetention": "Never"}, 0, [*WORKERS, "rendezvous-1"]),
    "an expired job takes them with it": (COMPLETE, OVER, {"ttlSecondsAfterFinished": 30}, 30, []),
}


@pytest.mark.parametrize(("status", "pods", "spec", "later", "expected"), RETENTION.values(), ids=RETENTION.keys())
def test_retention(status: Status, pods: tuple[Pod, ...], spec: dict[str, Any], later: float, expected: list[str]) -> None:
    decided = plan(make_seen(make_job(status, **spec), pods=pods), SETTINGS, NOW + timedelta(seconds=later))
    assert [deletion.name for deletion in decided.delete] == expected


@pytest.mark.parametrize(
    ("status", "later", "goes"), [(COMPLETE, 29, False), (COMPLETE, 30, True), (FAILED, 30, True), (make_status(), 30, False)]
)
def test_a_job_goes_when_it_has_been_finished_for_so_long(status: Status, later: float, goes: bool) -> None:
    job = make_job(status, ttlSecondsAfterFinished=30)
    decided = plan(make_seen(job, pods=()), SETTINGS, NOW + timedelta(seconds=later))
    assert decided.delete_job is goes


def test_members_of_a_failed_job_are_told_to_leave() -> None:
    intent = plan(make_seen(make_job(FAILED)), SETTINGS, NOW).intent
    assert intent is not None
    assert intent.failed == "no"


def test_an_invalid_edit_stops_nothing_that_runs() -> None:
    decided = plan(make_seen(make_job(make_status()), problem="spec.training: Field required"), SETTINGS, NOW)
    assert (decided.create, decided.delete, decided.requeue_after) == ((), (), 10.0), "nobody listens from now on"
    valid = decided.status.condition("Valid")
    assert valid is not None
    assert (valid.status, valid.message) == ("False", "spec.training: Field required")
    assert decided.status.workers == make_status().workers


def test_a_deadline_is_looked_at_in_time() -> None:
    job = settled(make_job(make_status(), activeDeadlineSeconds=604))
    assert plan(make_seen(job), SETTINGS, NOW).requeue_after == pytest.approx(4.0)


NUMBER = st.integers(0, 5)
PODS = st.builds(
    Pod,
    name=st.sampled_from(["a", "b", "c", "d"]),
    role=st.sampled_from(list(Role)),
    phase=st.sampled_from(list(PodPhase)),
    index=NUMBER,
    incarnation=NUMBER,
    deleting=st.booleans(),
    exit_code=st.sampled_from([None, 0, 1, 64, 67, 137, -9]),
    reason=st.sampled_from(["", "Evicted", "OOMKilled", "x" * 500]),
)
REPORTS = st.none() | st.builds(
    make_report,
    epoch=NUMBER,
    attempt=NUMBER,
    stage=st.sampled_from(["", "Running", "Over", "?"]),
    step=st.none() | NUMBER,
    loss=st.sampled_from([None, 0.5, float("nan"), float("inf")]),
    total_steps=NUMBER,
    world=NUMBER,
    state_lost=st.booleans(),
    stopped=st.sampled_from([None, "suspend-1"]),
    failure_count=st.integers(-3, 10**9),
    log=st.none()
    | st.builds(
        lambda attempt, done, request, steps: make_report().log.model_copy(  # type: ignore[union-attr]
            update={"attempt": attempt, "done": done, "request": request, "checkpoints": steps, "checkpoint": max(steps, default=None)}
        ),
        st.integers(-1, 10**12),
        st.booleans(),
        st.sampled_from([None, "again"]),
        st.lists(NUMBER, max_size=4).map(tuple),
    ),
)
STATUSES = st.builds(
    make_status,
    phase=st.sampled_from(["", "Running", "Suspended", "Failed", "from the future"]),
    attempt=NUMBER,
    opened_attempt=NUMBER,
    rendezvous=st.builds(lambda epoch, seen: {"epoch": epoch, "seen": seen}, NUMBER, st.booleans()),
    unseen=st.lists(NUMBER, unique=True).map(tuple),
    stop=st.none()
    | st.builds(
        lambda reason: StopRecord(request="suspend-1", time=CREATED, reason=reason), st.sampled_from(["Suspend", "PodsReleased", "?"])
    ),
    placement=st.none()
    | st.builds(
        lambda since, releases, retry: PlacementRecord(short_since=since, releases=releases, retry_time=retry),
        st.sampled_from([None, CREATED]),
        NUMBER,
        st.sampled_from([None, CREATED, NOW + timedelta(seconds=60)]),
    ),
    failures=NUMBER,
    last_rollback_request=st.sampled_from([None, "again"]),
    completion_time=st.none() | st.just(CREATED),
    conditions=st.lists(
        st.builds(make_condition, st.sampled_from(["Complete", "Failed", "Suspended", "Ready", "RolledBack", "Odd"]), st.booleans()),
        unique_by=lambda condition: condition.type,
    ).map(tuple),
)
SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "suspend": st.booleans(),
        "rollback": st.builds(lambda step: {"toStep": step, "request": "again"}, NUMBER),
        "activeDeadlineSeconds": st.sampled_from([1, 10**6]),
        "ttlSecondsAfterFinished": st.sampled_from([0, 10**6]),
        "podRetention": st.sampled_from(["Never", "OnFailure", "Always"]),
        "workers": st.builds(lambda replicas: {"replicas": replicas, "spares": 1}, st.integers(1, 5)),
    },
)


@settings(max_examples=300, deadline=None)
@given(STATUSES, SPECS, st.lists(PODS, max_size=6), REPORTS, st.booleans(), st.none() | st.just("bad"))
def test_plan_is_total_and_never_takes_back_what_only_grows(
    status: Status, spec: dict[str, Any], pods: list[Pod], report: Report | None, reporting: bool, problem: str | None
) -> None:
    seen = Observed(
        job=make_job(status, **spec),
        pods=tuple(pods),
        report=report,
        reporting=reporting,
        rendezvous_address=ADDRESS,
        problem=problem or "",
    )
    decided = plan(seen, SETTINGS, NOW)
    assert decided.status.attempt >= status.attempt
    assert decided.status.rendezvous.epoch >= status.rendezvous.epoch
    assert decided.requeue_after is None or decided.requeue_after >= 0
    assert "NaN" not in str(decided.status.to_object())
    assert {condition.type for condition in decided.status.conditions} <= CONDITIONS | {"Odd"}
    assert {deletion.kind for deletion in decided.delete} <= {"Pod"}
    assert not decided.delete_job or (status.completion_time is not None and spec.get("ttlSecondsAfterFinished") == 0)


KEY = job_key("team", "digits")


class Recorder:
    """A cluster that shows one thing and remembers what it was told."""

    def __init__(self, seen: Observed | None) -> None:
        self.seen, self.acted = seen, list[Plan]()

    async def observe(self, key: ResourceKey) -> Observed | None:
        return self.seen

    def plan(self, seen: Observed, now: datetime) -> Plan:
        return plan(seen, SETTINGS, now)

    async def act(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        self.acted.append(plan)


async def test_the_plan_is_carried_out_and_its_time_returned() -> None:
    seen = make_seen(make_job(make_status()))
    cluster = Recorder(seen)
    assert await reconcile(cluster, KEY, NOW) == SETTINGS.progress_seconds
    assert cluster.acted == [plan(seen, SETTINGS, NOW)]


@pytest.mark.parametrize(("age", "left"), [(0.0, 10.0), (4.0, 6.0), (10.0, 10.0), (500.0, 10.0), (-3.0, 10.0)])
def test_figures_are_looked_at_when_they_may_be_written(age: float, left: float) -> None:
    """No report calls for them: after a pass between two turns the next look is at the turn, and not a whole turn later."""
    job = settled(make_job(make_status()))
    status = job.status.model_copy(update={"ledger_mark": NOW - timedelta(seconds=age)})
    assert plan(make_seen(job.model_copy(update={"status": status})), SETTINGS, NOW).requeue_after == left


async def test_a_job_that_is_gone_needs_nothing() -> None:
    cluster = Recorder(None)
    assert await reconcile(cluster, KEY, NOW) is None
    assert cluster.acted == []


def test_a_pod_that_a_lost_node_keeps_from_going_is_looked_at_again() -> None:
    held = make_pod(deleting=True, reason="NodeLost", message="node a is not ready")
    status = make_status(phase="Suspended", conditions=(make_condition("Suspended"),), stop=StopRecord(request="suspend-1", time=NOW))

    assert plan(make_seen(make_job(status, suspend=True), pods=(held,)), SETTINGS, NOW).requeue_after == SETTINGS.progress_seconds
    assert plan(make_seen(make_job(status, suspend=True), pods=()), SETTINGS, NOW).requeue_after is None


def test_what_a_life_is_made_from_is_resolved_once_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[Observed] = []

    def counted(seen: Observed, settings: Any, *, anew: bool = False) -> Any:
        resolved.append(seen)
        return pin(seen, settings, anew=anew)

    monkeypatch.setattr("trainingjob_operator.controllers.training_job.plan.pin", counted)
    begun = plan(Observed(job=make_job(), children_first=True), SETTINGS, NOW)
    assert begun.children_first
    assert sum(seen.pinned is None for seen in resolved) == 1
