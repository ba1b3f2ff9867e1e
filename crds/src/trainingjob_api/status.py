"""What the operator says of a job: the models of a TrainingJob's `status`. Pure.

Reading never fails on what a newer operator wrote: unknown fields are dropped, there are no enums and no ranges, and what is
longer than its bound is cut to it. So the object stays under 16 KiB. A number that is not finite becomes null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from trainingjob_api.contract.strict import plain

MAX_WORKERS = 512
CONDITIONS = frozenset({"Complete", "Failed", "Suspended", "Ready", "Reporting", "Valid", "RolledBack", "Waiting", "StorageFailing"})
"""The types of conditions that this version says; others are a newer one's, and come after them."""
MAX_STATUS_BYTES = 16 << 10
"""What a status with every list and text at its bound stays below."""


def _cut(length: int) -> BeforeValidator:
    """A text in one line, of at most `length` bytes in UTF-8, and so of at most `length` characters."""

    def cut(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = plain(value)
        return text if len(text.encode()) <= length else text.encode()[: length - len("…".encode())].decode(errors="ignore") + "…"

    return BeforeValidator(cut)


def _newest(length: int) -> BeforeValidator:
    return BeforeValidator(lambda values: tuple(values)[-length:])


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finite_entries(length: int) -> BeforeValidator:
    """A map without what is not finite; of the rest, the first `length` by name."""

    def keep(values: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in sorted(values.items()) if value is not None and math.isfinite(value)}
        return dict(list(kept.items())[:length])

    return BeforeValidator(keep)


def _bound(key: str, limit: int) -> Any:
    return Field(json_schema_extra={key: limit})


Word = Annotated[str, _cut(64), _bound("maxLength", 64)]
ReasonWord = Annotated[str, _cut(48), _bound("maxLength", 48)]
Line = Annotated[str, _cut(200), _bound("maxLength", 200)]
MESSAGE_BYTES = 330
Message = Annotated[str, _cut(MESSAGE_BYTES), _bound("maxLength", MESSAGE_BYTES)]
"""Room for what is wrong, and for the fix."""
MetricName = Annotated[str, _cut(40)]
Measure = Annotated[float | None, BeforeValidator(_finite), Field(json_schema_extra={"nullable": True})]
"""A number, or null where it is unknown or not finite."""
StepOrNone = Annotated[int | None, Field(json_schema_extra={"nullable": True})]


class StatusModel(BaseModel):
    """Base of every object in the status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True)


class Condition(StatusModel):
    """A Kubernetes condition."""

    type: Annotated[str, _cut(63), _bound("maxLength", 63)]
    """What it is about: Complete, Failed, Suspended, Ready, Reporting, Valid, RolledBack, Waiting, StorageFailing."""
    status: Annotated[str, _cut(16), _bound("maxLength", 16)]
    """True, False or Unknown."""
    reason: ReasonWord = ""
    """Why, in one word."""
    message: Message = ""
    """Why, for a person."""
    last_transition_time: datetime | None = None
    """When status last changed."""
    observed_generation: int = 0
    """The metadata.generation that it speaks of."""


def _known_first(values: Iterable[Condition | Mapping[str, Any]]) -> tuple[Condition | Mapping[str, Any], ...]:
    """As many conditions as there may be; where a newer operator has said more, none of those that decisions are made by is lost."""

    def is_foreign(value: Condition | Mapping[str, Any]) -> bool:
        return (value.type if isinstance(value, Condition) else value.get("type")) not in CONDITIONS

    return tuple(sorted(values, key=is_foreign)[: len(CONDITIONS)])


class WorkerRecord(StatusModel):
    """One worker, and how often it has been replaced."""

    index: int
    """The worker's index, from 0."""
    incarnation: int = 0
    """Grows each time the worker is replaced."""


class RendezvousRecord(StatusModel):
    """The job's rendezvous."""

    epoch: int = 0
    """Its life; written before its pod is made."""
    seen: bool = False
    """A pod of this epoch has been seen; if there is none any more, it is gone."""


class RestorePoint(StatusModel):
    """The point that the present attempt starts from."""

    kind: Word = "Latest"
    """Latest: the newest visible checkpoint, or a fresh start. Step: the checkpoint of that step."""
    step: StepOrNone = None
    """With Step: its step."""
    request: Annotated[str | None, _cut(64), _bound("maxLength", 64)] = None
    """The rollback request that asked for it."""


class FailureRecord(StatusModel):
    """One failure."""

    worker: StepOrNone = None
    """The worker's index."""
    cause: Word = ""
    """What kind of failure."""
    message: Line = ""
    """What happened."""
    step: StepOrNone = None
    """The last finished step before it."""
    time: datetime | None = None
    """When it was seen."""


class StepMark(StatusModel):
    """How long training had taken when a step was finished; a rollback takes its lost time from these."""

    step: int
    """The step."""
    training_seconds: float
    """Time spent on kept steps until then."""


SUSPEND = "Suspend"
"""StopRecord.reason of a suspension."""


class StopRecord(StatusModel):
    """An end in order that has been asked for: save, leave, release the pods."""

    request: Annotated[str, _cut(64), _bound("maxLength", 64)]
    """Names it to the rendezvous."""
    time: datetime
    """When it was asked for."""
    reason: Word = SUSPEND
    """Suspend, or why the job fails once it has stopped."""
    message: Annotated[str, _cut(280), _bound("maxLength", 280)] = ""
    """Why it fails, for a person."""


class PlacementRecord(StatusModel):
    """A job of which too few workers run: for how long, and when it asks for pods again after it has given them back."""

    short_since: datetime | None = None
    """Since when there have been pods, but fewer than minReplicas that run."""
    releases: int = 0
    """How often in a row the pods have been given back for that."""
    retry_time: datetime | None = None
    """The pods are given back, and asked for again at this time."""


class Display(StatusModel):
    """What `kubectl get` shows; nothing reads it back."""

    workers: Word = ""
    """Ready and wanted workers, such as 4/4."""
    step: Word = ""
    """Finished and planned steps, such as 1240/5000."""
    progress: Word = ""
    """Share of the planned steps, such as 24%."""


def _records(value: object) -> object:
    """Workers as the object has them ([1, -1, 3]: incarnations by index, -1 where there is none), as records."""
    if not isinstance(value, list | tuple):
        return value
    records = [
        {"index": index, "incarnation": entry} if isinstance(entry, int) else entry for index, entry in enumerate(value) if entry != -1
    ]
    return tuple(records[:MAX_WORKERS])


def _incarnations(workers: tuple[WorkerRecord, ...]) -> list[int]:
    found = {worker.index: worker.incarnation for worker in workers}
    return [found.get(index, -1) for index in range(max(found, default=-1) + 1)]


def _numbers(value: object) -> object:
    """Numbers as the object has them ("0-3,7"), one by one."""
    if not isinstance(value, str):
        return tuple(value)[:MAX_WORKERS] if isinstance(value, list | tuple) else value
    runs = [found for part in value.split(",") if (found := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part))]
    numbers = (number for run in runs for number in range(int(run[1]), int(run[2] or run[1]) + 1))
    return tuple(islice(numbers, MAX_WORKERS))


def _ranges(numbers: tuple[int, ...]) -> str:
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


WorkerRecords = Annotated[
    tuple[WorkerRecord, ...],
    BeforeValidator(_records),
    PlainSerializer(_incarnations, return_type=list[int]),
    WithJsonSchema({"type": "array", "items": {"type": "integer"}, "maxItems": MAX_WORKERS}),
]
"""Workers by index, in order."""
WorkerNumbers = Annotated[
    tuple[int, ...],
    BeforeValidator(_numbers),
    PlainSerializer(_ranges, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 4 * MAX_WORKERS}),
]
"""Indices of workers, in order."""


class Status(StatusModel):
    """What the operator says of the job."""

    phase: Word = ""
    """For display: Pending, Running, Suspended, Succeeded, Failed and so on. Programs read the conditions."""
    message: Message = ""
    """What the job does or waits for, for a person."""
    conditions: Annotated[
        tuple[Condition, ...],
        BeforeValidator(_known_first),
        Field(json_schema_extra={"maxItems": len(CONDITIONS), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Complete, Failed, Suspended, Ready, Reporting and others: what programs read."""
    observed_generation: int = 0
    """The metadata.generation that the status speaks of."""
    attempt: int = 0
    """The line of training history; grows with a rollback, or a resume after all was lost."""
    rendezvous: RendezvousRecord = Field(default_factory=RendezvousRecord)
    """The job's rendezvous."""
    restore: RestorePoint = Field(default_factory=RestorePoint)
    """The point that the present attempt starts from."""
    workers: WorkerRecords = ()
    """Each worker's incarnation: the first number is worker 0's. -1: there is no such worker."""
    unseen: WorkerNumbers = ()
    """Workers of whose present incarnation no pod has been seen yet; of the others, a missing pod is a lost one."""
    image: Annotated[str, _cut(512), _bound("maxLength", 512)] = ""
    """The workers' image, as pinned when the job started."""
    build: Annotated[str, _cut(64), _bound("maxLength", 64)] = ""
    """Names image and training; workers of another build are refused."""
    revision: Annotated[str, _cut(66), _bound("maxLength", 66)] = ""
    """The ControllerRevision that the job's pods are made from; another one after a suspension."""
    key_id: Annotated[str, _cut(16), _bound("maxLength", 16)] = ""
    """Names the operator's key that the tokens of the job's present pods are made with."""
    opened_attempt: int = 0
    """The newest attempt that has begun: its restore point is in the log."""
    stop: StopRecord | None = None
    """The end in order that the job is brought to, or was."""
    placement: PlacementRecord | None = None
    """Only while fewer than minReplicas workers run."""
    ready_workers: int = 0
    """Workers that train; of a script: on which it runs. 0 while it is not known."""
    wanted_workers: int = 0
    """Workers that should train."""
    display: Display = Field(default_factory=Display)
    """What `kubectl get` shows."""
    step: StepOrNone = None
    """The last finished step."""
    total_steps: int = 0
    """The planned steps."""
    loss: Measure = None
    """The training loss; null while there is none, or where it is not finite."""
    samples_per_second: Measure = None
    """Samples of all workers in a second."""
    metrics: Annotated[dict[MetricName, float], _finite_entries(24), _bound("maxProperties", 24)] = Field(default_factory=dict)
    """The newest metrics, by name."""
    not_finite: Annotated[str, _cut(128), _bound("maxLength", 128)] = ""
    """The newest metrics that are NaN or infinite, which `metrics` cannot hold, and on which data they were measured."""
    checkpoint: StepOrNone = None
    """Step of the newest checkpoint in storage."""
    last_checkpoint_time: datetime | None = None
    """When that checkpoint was committed: what was trained since then is not in storage yet."""
    checkpoints: Annotated[tuple[int, ...], _newest(20), _bound("maxItems", 20)] = ()
    """Steps of the checkpoints that a rollback can go to, oldest first."""
    quarantined: Annotated[tuple[int, ...], _newest(20), _bound("maxItems", 20)] = ()
    """Steps of checkpoints that were found damaged; they are not used."""
    failures: int = 0
    """Failures that count against recovery.maxFailures."""
    reported_failures: int = 0
    """How many of the present rendezvous' failures are accounted for."""
    last_failures: Annotated[tuple[FailureRecord, ...], _newest(5), _bound("maxItems", 5)] = ()
    """The newest failures, counted or not, oldest first."""
    restarts: int = 0
    """Workers and training processes started again."""
    goodput: Word = ""
    """Share of the time since creation that was spent on steps that were kept, such as 98%. Of a script: empty, its steps are not known."""
    ledger: Annotated[dict[MetricName, float], _finite_entries(16), _bound("maxProperties", 16)] = Field(default_factory=dict)
    """Every second since creation, by what it was spent on."""
    ledger_mark: datetime | None = None
    """The time up to which the ledger is filled in."""
    step_marks: Annotated[tuple[StepMark, ...], _newest(20), _bound("maxItems", 20)] = ()
    """Training time at the newest checkpoints."""
    last_rollback_request: Annotated[str | None, _cut(64), _bound("maxLength", 64)] = None
    """The last rollback request that was done."""
    model: Annotated[str | None, _cut(1100), _bound("maxLength", 1100)] = None
    """Where the finished model is."""
    start_time: datetime | None = None
    """When the job first started."""
    completion_time: datetime | None = None
    """When it finished."""

    def condition(self, kind: str) -> Condition | None:
        """The condition of type `kind`, if it has been set."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def is_released(self) -> bool:
        """The pods are given back for a while, since too few of them ran."""
        return self.placement is not None and self.placement.retry_time is not None

    def to_object(self) -> dict[str, Any]:
        """The status as the API server gets it; fields that are absent stay absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
