"""Builders with valid defaults, so that a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trainingjob_api.contract.intent import MemberView, Report
from trainingjob_api.contract.messages import Failure, GenerationId, LogPosition, MemberId
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Condition, Status, WorkerRecord
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pod, PodPhase, Role

CREATED = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NOW = CREATED + timedelta(minutes=10)
UID = "7a1b2c3d-0000-4000-8000-000000000001"
SETTINGS = Settings()
OTHERS = Settings(
    default_image="trainer:2",
    rendezvous_image="operator:2",
    interface="eth7",
    rendezvous_port=7000,
    rendezvous_requests={"cpu": "1"},
    rendezvous_limits={"memory": "1Gi"},
    termination_grace_seconds=7,
)
"""All that pods are made from, as another version of the operator might have it."""
ADDRESS = "rendezvous.test:29400"


def make_spec(**fields: Any) -> dict[str, Any]:
    """A spec as a manifest has it; `fields` replace whole top-level fields."""
    spec = {
        "workers": {"replicas": 3, "minReplicas": 2},
        "training": {"task": {"class": "trainingjob_trainer.tasks.digits:Digits"}, "epochs": 2},
        "checkpoint": {"storage": {"uri": "s3://bucket/digits"}},
    }
    return spec | fields


def make_job(status: Status | None = None, **fields: Any) -> TrainingJob:
    """A job; `deletionTimestamp` and `generation` go to its metadata, all else to its spec."""
    metadata = {"name": "digits", "namespace": "team", "uid": UID, "generation": 1, "creationTimestamp": CREATED}
    for name in ("deletionTimestamp", "generation", "name"):
        if name in fields:
            metadata[name] = fields.pop(name)
    job = TrainingJob.model_validate({"metadata": metadata, "spec": make_spec(**fields)})
    return job.model_copy(update={"status": status}) if status is not None else job


def make_status(**fields: Any) -> Status:
    """The status of a job that runs its first attempt with three workers, all seen."""
    defaults: dict[str, Any] = {
        "phase": "Running",
        "attempt": 1,
        "opened_attempt": 1,
        "rendezvous": {"epoch": 1, "seen": True},
        "workers": tuple(WorkerRecord(index=index, incarnation=0) for index in range(3)),
        "image": "image:1",
        "build": "build",
        "ledger": {"Starting": 60.0, "Training": 540.0},
        "ledger_mark": NOW,
        "start_time": CREATED,
    }
    return Status(**(defaults | fields))


def make_condition(kind: str, value: bool = True, reason: str = "", message: str = "") -> Condition:
    """A condition that holds since the job's creation."""
    return Condition(type=kind, status=str(value), reason=reason, message=message, last_transition_time=CREATED, observed_generation=1)


def make_pod(index: int = 0, incarnation: int = 0, phase: PodPhase = PodPhase.RUNNING, **fields: Any) -> Pod:
    """The pod of a worker."""
    return Pod(name=f"worker-{index}-{incarnation}", role=Role.WORKER, phase=phase, index=index, incarnation=incarnation, **fields)


def make_rendezvous(epoch: int = 1, phase: PodPhase = PodPhase.RUNNING, **fields: Any) -> Pod:
    """The pod of the rendezvous."""
    return Pod(name=f"rendezvous-{epoch}", role=Role.RENDEZVOUS, phase=phase, incarnation=epoch, **fields)


def make_failed(index: int = 0, code: int = 1, message: str = "", **fields: Any) -> Pod:
    """The pod of a worker whose agent left with `code`."""
    words = Termination(code=code, message=message, step=fields.pop("step", None), done=fields.pop("done", False))
    return make_pod(index, phase=PodPhase.FAILED if code else PodPhase.SUCCEEDED, termination=words, exit_code=code, **fields)


def make_log(**fields: Any) -> LogPosition:
    """The log of a job in its first attempt, with checkpoints 100 and 200."""
    defaults: dict[str, Any] = {"seq": 5, "attempt": 1, "epoch": 1, "checkpoint": 200, "checkpoints": (100, 200), "opened_attempt": 1}
    return LogPosition(**(defaults | fields))


def make_report(**fields: Any) -> Report:
    """The report of a rendezvous whose three workers are at step 240 of 500."""
    defaults: dict[str, Any] = {
        "epoch": 1,
        "attempt": 1,
        "generation": GenerationId(1, 1, 1),
        "stage": "Running",
        "world": 3,
        "members": tuple(MemberView(worker=index, incarnation=0, phase="Stepping", step=240) for index in range(3)),
        "step": 240,
        "total_steps": 500,
        "loss": 0.25,
        "samples_per_second": 1000.0,
        "log": make_log(),
    }
    return Report(**(defaults | fields))


def make_failure(cause: str, worker: int = 0, **fields: Any) -> Failure:
    """The loss of a training process of `worker`."""
    return Failure(member=MemberId(worker, 0, 0, 0), cause=cause, **fields)


def make_seen(job: TrainingJob | None = None, **fields: Any) -> Observed:
    """A healthy job: its three workers and its rendezvous run, the stream stands."""
    defaults: dict[str, Any] = {
        "pods": (*(make_pod(index) for index in range(3)), make_rendezvous()),
        "rendezvous_address": ADDRESS,
        "report": make_report(),
        "reporting": True,
    }
    return Observed(job=job or make_job(make_status()), **(defaults | fields))
