"""The words in which a job's story is told: reasons of conditions and events, and the events of a pass. Pure.

Events are what is new in the next status, so each is told once, however often a pass is repeated.
"""

from __future__ import annotations

from enum import StrEnum

from trainingjob_api.status import SUSPEND, FailureRecord, Status
from trainingjob_operator.engine.values import Event, EventType


class Reason(StrEnum):
    """Reasons, as users and their programs see them."""

    CREATED = "Created"
    STARTED = "Started"
    WORKER_LOST = "WorkerLost"
    WORKER_REPLACED = "WorkerReplaced"
    RECOVERED = "Recovered"
    CHECKPOINT_COMMITTED = "CheckpointCommitted"
    CHECKPOINT_QUARANTINED = "CheckpointQuarantined"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_REFUSED = "RollbackRefused"
    NEW_ATTEMPT = "NewAttempt"
    SCALED = "Scaled"
    SUSPENDING = "Suspending"
    FAILING = "Failing"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    RENDEZVOUS_REPLACED = "RendezvousReplaced"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    USER_ERROR = "UserError"
    STORAGE_CLAIMED = "StorageClaimed"
    RULE_MATCHED = "RuleMatched"
    TOO_MANY_FAILURES = "TooManyFailures"
    POISONOUS_STEP = "PoisonousStep"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    INVALID = "Invalid"
    VALID = "Valid"
    TRAINING = "Training"
    SCRIPT_RUNS = "ScriptRuns"
    NOT_TRAINING = "NotTraining"
    WAITING_FOR_STORAGE = "WaitingForStorage"
    WAITING_FOR_LINK = "WaitingForLink"
    WAITING_FOR_DATA = "WaitingForData"
    COMPILING = "Compiling"
    LONG_STEP = "LongStep"
    HANGING = "Hanging"
    RESTORING = "Restoring"
    EVALUATING = "Evaluating"
    FINISHING = "Finishing"
    LINK_CUT = "LinkCut"
    CONNECTED = "Connected"
    NO_STREAM = "NoStream"
    NOT_HEARD_YET = "NotHeardYet"
    NO_REPORT = "NoReport"
    NOT_SUSPENDED = "NotSuspended"
    QUOTA_EXCEEDED = "QuotaExceeded"
    REFUSED = "Refused"
    PODS_WAITING = "PodsWaiting"
    PODS_RELEASED = "PodsReleased"
    NOT_WAITING = "NotWaiting"
    STORAGE_FAILS = "StorageFails"
    STORAGE_WORKS = "StorageWorks"
    NOT_FINITE = "NotFinite"


FOLDED = frozenset({Reason.CHECKPOINT_COMMITTED.value})
"""Shown as one event with the newest message, however often it happens."""
_STALLS = (
    Reason.WAITING_FOR_STORAGE,
    Reason.WAITING_FOR_LINK,
    Reason.WAITING_FOR_DATA,
    Reason.COMPILING,
    Reason.LONG_STEP,
    Reason.HANGING,
)
"""Reasons for which no step is finished, and somebody may want to know."""


def counted(number: int, thing: str) -> str:
    """Return the number with its noun: 1 worker, 2 workers."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def normal(reason: Reason, message: str) -> Event:
    """An event of the good or expected kind."""
    return Event(EventType.NORMAL, reason.value, message)


def warning(reason: Reason, message: str) -> Event:
    """An event that somebody may want to look into."""
    return Event(EventType.WARNING, reason.value, message)


def told(old: Status, new: Status) -> tuple[Event, ...]:
    """What happened between two statuses, in the order of a story."""
    return (*_invalid(old, new), *_losses(old, new), *_history(old, new), *_suspension(old, new), *_progress(old, new), *_end(old, new))


def _became(old: Status, new: Status, kind: str, value: str = "True") -> bool:
    before, after = old.condition(kind), new.condition(kind)
    return after is not None and after.status == value and (before is None or before.status != value)


def _message(status: Status, kind: str) -> str:
    condition = status.condition(kind)
    return condition.message if condition is not None else ""


def _invalid(old: Status, new: Status) -> list[Event]:
    before, after = _message(old, "Valid"), _message(new, "Valid")
    return [warning(Reason.INVALID, after)] if _became(old, new, "Valid", "False") or (after and before != after) else []


def _losses(old: Status, new: Status) -> list[Event]:
    if old.attempt == 0 or new.restarts == old.restarts:
        return []
    known = set(old.last_failures)
    failed = new.condition("Failed")
    end = failed.message if failed is not None and failed.reason == Reason.USER_ERROR and _became(old, new, "Failed") else ""
    events = [
        warning(Reason.WORKER_LOST, _line(record.worker, record.message))
        for record in new.last_failures
        if record not in known and not is_told(record, end)
    ]
    before = {worker.index: worker.incarnation for worker in old.workers}
    again = [worker for worker in new.workers if before.get(worker.index, worker.incarnation) < worker.incarnation]
    if again and new.stop is None:
        named = ", ".join(f"{worker.index} (incarnation {worker.incarnation})" for worker in again[:8])
        events.append(normal(Reason.WORKER_REPLACED, f"another pod for worker {named}"))
    return events


def is_told(record: FailureRecord, message: str) -> bool:
    """Return whether a message has a failure's words in it already, so that they need not be repeated."""
    words = record.message.removeprefix(f"{record.cause}: ").removesuffix("…")
    return bool(words) and words in message


def _line(worker: int | None, message: str) -> str:
    return f"worker {worker}: {message}" if worker is not None else message


def _history(old: Status, new: Status) -> list[Event]:
    events = []
    if old.attempt == 0 and new.attempt > 0:
        events.append(normal(Reason.CREATED, f"{counted(len(new.workers), 'worker')} requested"))
    elif new.attempt > old.attempt:
        point = f"checkpoint {new.restore.step}" if new.restore.kind == "Step" else "the newest checkpoint"
        events.append(normal(Reason.NEW_ATTEMPT, f"attempt {new.attempt} starts from {point}"))
    woken = any(_became(old, new, kind, "False") for kind in ("Suspended", "Complete", "Failed")) or old.is_released()
    if old.rendezvous.epoch and new.rendezvous.epoch > old.rendezvous.epoch and not woken:
        events.append(warning(Reason.RENDEZVOUS_REPLACED, f"the rendezvous was lost; another one in epoch {new.rendezvous.epoch}"))
    refused = new.condition("RolledBack")
    if new.last_rollback_request != old.last_rollback_request and refused is not None:
        tell = normal if refused.status == "True" else warning
        events.append(tell(Reason.ROLLED_BACK if refused.status == "True" else Reason.ROLLBACK_REFUSED, refused.message))
    return events


def _suspension(old: Status, new: Status) -> list[Event]:
    events = []
    if new.stop is not None and old.stop is None and new.stop.reason == Reason.PODS_RELEASED:
        events.append(warning(Reason.PODS_RELEASED, f"{new.stop.message}; the pods are given back for a while"))
    elif new.stop is not None and old.stop is None and new.stop.reason != SUSPEND:
        events.append(warning(Reason.FAILING, f"the job saves, then it fails: {new.stop.message}"))
    elif new.stop is not None and old.stop is None:
        events.append(normal(Reason.SUSPENDING, new.stop.message or "the job saves and gives its pods back"))
    if _became(old, new, "Suspended"):
        events.append(normal(Reason.SUSPENDED, _message(new, "Suspended")))
    if old.condition("Suspended") is not None and _became(old, new, "Suspended", "False"):
        events.append(normal(Reason.RESUMED, f"attempt {new.attempt} starts"))
    return events


def _progress(old: Status, new: Status) -> list[Event]:
    events = []
    waits = new.condition("Waiting")
    if waits is not None and waits.reason != Reason.PODS_RELEASED and _became(old, new, "Waiting"):
        events.append(Event(EventType.WARNING, waits.reason, waits.message))
    if new.not_finite and not old.not_finite:
        words = f"{new.not_finite}; it is left out of the metrics: check these samples and the model's outputs for them"
        events.append(warning(Reason.NOT_FINITE, words))
    if _became(old, new, "StorageFailing"):
        events.append(warning(Reason.STORAGE_FAILS, _message(new, "StorageFailing")))
    if _became(old, new, "StorageFailing", "False"):
        newest = "there is no checkpoint yet" if new.checkpoint is None else f"the newest checkpoint is step {new.checkpoint}"
        events.append(normal(Reason.STORAGE_WORKS, f"storage works again; {newest}"))
    events += _steps(old, new)
    cut = _links(new)
    if cut and cut != _links(old):
        events.append(warning(Reason.LINK_CUT, cut))
    gone = sorted(set(new.quarantined) - set(old.quarantined))
    events += [warning(Reason.CHECKPOINT_QUARANTINED, f"checkpoint {step} is damaged and is not used") for step in gone]
    if new.checkpoint is not None and (old.checkpoint is None or new.checkpoint > old.checkpoint):
        events.append(normal(Reason.CHECKPOINT_COMMITTED, f"checkpoint {new.checkpoint} is in storage"))
    return events


def _steps(old: Status, new: Status) -> list[Event]:
    """Steps are taken, or they are not, or nobody knows."""
    ready, events = new.condition("Ready"), []
    if ready is None:
        return []
    if ready.reason in _STALLS and not _is_held_up(old):
        events.append(Event(EventType.WARNING, ready.reason, ready.message))
    if ready.reason == Reason.NO_REPORT and _became(old, new, "Ready", "Unknown"):
        events.append(warning(Reason.NO_REPORT, ready.message))
    if not _became(old, new, "Ready") or old.phase in ("Evaluating", "Finishing"):
        return events
    if old.phase == "Unknown":
        return [*events, normal(Reason.CONNECTED, f"the rendezvous is heard again: {ready.message}")]
    again = old.phase in ("Recovering", "RollingBack", "Stalled")
    return [*events, normal(Reason.RECOVERED if again else Reason.STARTED, ready.message)]


def _is_held_up(status: Status) -> bool:
    ready = status.condition("Ready")
    return ready is not None and ready.reason in _STALLS


def _links(status: Status) -> str:
    """Who cannot reach whom while the others train: what the condition Ready says beside its workers."""
    ready = status.condition("Ready")
    return ready.message.partition("; ")[2] if ready is not None and ready.reason == Reason.TRAINING else ""


def _end(old: Status, new: Status) -> list[Event]:
    if _became(old, new, "Complete"):
        return [normal(Reason.SUCCEEDED, _message(new, "Complete"))]
    condition = new.condition("Failed")
    if condition is not None and _became(old, new, "Failed"):
        return [Event(EventType.WARNING, condition.reason or Reason.FAILED.value, condition.message)]
    return []
