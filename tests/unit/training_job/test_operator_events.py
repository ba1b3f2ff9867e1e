"""The job's story: each event is told once, by the pass in which the status changes."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import make_condition, make_status
from trainingjob_api.status import FailureRecord, Status, StopRecord
from trainingjob_operator.controllers.training_job.reasons import told
from trainingjob_operator.engine.values import EventType

OLD = make_status(checkpoint=100, checkpoints=(100,), conditions=(make_condition("Ready", False), make_condition("Suspended", False)))
LOSS = FailureRecord(worker=1, cause="Exit137", message="it failed with exit code 137")


def new(**fields: Any) -> Status:
    conditions = {condition.type: condition for condition in (*OLD.conditions, *fields.pop("conditions", ()))}
    return Status(**(dict(OLD) | fields | {"conditions": tuple(conditions.values())}))


STORY = {
    "nothing": (OLD, OLD, []),
    "created": (Status(), make_status(), ["Created"]),
    "a worker lost": (
        OLD,
        new(restarts=1, last_failures=(LOSS,), workers=(0, 1, 0)),
        ["WorkerLost", "WorkerReplaced"],
    ),
    "steps again": (new(phase="Recovering"), new(conditions=(make_condition("Ready"),)), ["Recovered"]),
    "steps of another attempt": (new(phase="RollingBack"), new(conditions=(make_condition("Ready"),)), ["Recovered"]),
    "the first step of a life": (new(phase="Starting"), new(conditions=(make_condition("Ready"),)), ["Started"]),
    "steps after an evaluation": (new(phase="Evaluating"), new(conditions=(make_condition("Ready"),)), []),
    "steps after a measurement that the end began with": (new(phase="Finishing"), new(conditions=(make_condition("Ready"),)), []),
    "steps after a stall": (new(phase="Stalled"), new(conditions=(make_condition("Ready"),)), ["Recovered"]),
    "a stall before the first step": (OLD, new(conditions=(make_condition("Ready", False, reason="Compiling"),)), ["Compiling"]),
    "another stall": (
        new(conditions=(make_condition("Ready", False, reason="Compiling"),)),
        new(conditions=(make_condition("Ready", False, reason="Hanging"),)),
        [],
    ),
    "woken by a rollback": (
        new(conditions=(make_condition("Complete"),)),
        new(attempt=2, rendezvous={"epoch": 2}, conditions=(make_condition("Complete", False),)),
        ["NewAttempt"],
    ),
    "a checkpoint": (OLD, new(checkpoint=200, checkpoints=(100, 200)), ["CheckpointCommitted"]),
    "an older one after a rollback": (new(checkpoint=200), OLD, []),
    "a damaged one": (OLD, new(quarantined=(300,)), ["CheckpointQuarantined"]),
    "a new attempt": (OLD, new(attempt=2), ["NewAttempt"]),
    "a new rendezvous": (OLD, new(rendezvous={"epoch": 2}), ["RendezvousReplaced"]),
    "rolled back": (OLD, new(last_rollback_request="a", conditions=(make_condition("RolledBack"),)), ["RolledBack"]),
    "refused": (OLD, new(last_rollback_request="a", conditions=(make_condition("RolledBack", False),)), ["RollbackRefused"]),
    "suspending": (OLD, new(stop=StopRecord(request="suspend-1", time="2026-01-01T00:00:00Z")), ["Suspending"]),
    "failing": (OLD, new(stop=StopRecord(request="fail-1-1", time="2026-01-01T00:00:00Z", reason="PoisonousStep")), ["Failing"]),
    "suspended": (OLD, new(conditions=(make_condition("Suspended"),)), ["Suspended"]),
    "resumed": (new(conditions=(make_condition("Suspended"),)), new(attempt=2, rendezvous={"epoch": 2}), ["NewAttempt", "Resumed"]),
    "succeeded": (OLD, new(conditions=(make_condition("Complete"),)), ["Succeeded"]),
    "failed": (OLD, new(conditions=(make_condition("Failed", reason="TooManyFailures"),)), ["TooManyFailures"]),
    "failed by the user's error": (
        OLD,
        new(
            restarts=1,
            last_failures=(FailureRecord(worker=1, cause="UserError", message="UserError: spec.training: no such…"),),
            conditions=(make_condition("Failed", reason="UserError", message="worker 1: spec.training: no such class"),),
        ),
        ["UserError"],
    ),
    "invalid": (OLD, new(conditions=(make_condition("Valid", False, message="spec.image: bad"),)), ["Invalid"]),
}


@pytest.mark.parametrize(("old", "after", "reasons"), STORY.values(), ids=STORY.keys())
def test_story(old: Status, after: Status, reasons: list[str]) -> None:
    assert [event.reason for event in told(old, after)] == reasons
    assert told(after, after) == ()


def test_bad_news_are_warnings() -> None:
    after = new(restarts=1, last_failures=(LOSS,))
    (event,) = told(OLD, after)
    assert (event.type, event.message) == (EventType.WARNING, "worker 1: it failed with exit code 137")
