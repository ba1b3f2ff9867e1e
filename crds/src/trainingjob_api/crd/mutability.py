"""Which fields of a spec may change, and when: one table, from which the API server's rules and the reference are made. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from trainingjob_api.crd.schema import Schema
from trainingjob_api.spec.base import RULES
from trainingjob_api.spec.job import JobSpec


class Mutability(StrEnum):
    """When a field may change after the object was made."""

    ALWAYS = "Always"
    """At any time; the operator acts on it at once."""
    WHILE_SUSPENDED = "WhileSuspended"
    """While suspend is true: running workers have it pinned, and read it again when the job goes on."""
    AT_REST = "AtRest"
    """While suspend is true, and when the job is complete: one that is complete trains further when they are raised."""
    NEVER = "Never"
    """What is stored already depends on it."""


TABLE: dict[str, Mutability] = {
    "image": Mutability.WHILE_SUSPENDED,
    "workers.replicas": Mutability.ALWAYS,
    "workers.minReplicas": Mutability.ALWAYS,
    "workers.maxReplicas": Mutability.ALWAYS,
    "workers.spares": Mutability.ALWAYS,
    "workers.processesPerWorker": Mutability.WHILE_SUSPENDED,
    "workers.gpus": Mutability.WHILE_SUSPENDED,
    "workers.gpuResourceName": Mutability.WHILE_SUSPENDED,
    "workers.template": Mutability.WHILE_SUSPENDED,
    "training.task": Mutability.NEVER,
    "training.script": Mutability.WHILE_SUSPENDED,
    "training.strategy": Mutability.NEVER,
    "training.optimizer": Mutability.WHILE_SUSPENDED,
    "training.optimizer.name": Mutability.NEVER,
    "training.schedule": Mutability.WHILE_SUSPENDED,
    "training.regularisation": Mutability.WHILE_SUSPENDED,
    "training.globalBatchSize": Mutability.NEVER,
    "training.microBatchSize": Mutability.WHILE_SUSPENDED,
    "training.epochs": Mutability.AT_REST,
    "training.steps": Mutability.AT_REST,
    "training.seed": Mutability.NEVER,
    "training.reduction": Mutability.NEVER,
    "training.lanes": Mutability.NEVER,
    "training.split": Mutability.NEVER,
    "training.evaluation": Mutability.WHILE_SUSPENDED,
    "training.earlyStopping": Mutability.WHILE_SUSPENDED,
    "training.threads": Mutability.WHILE_SUSPENDED,
    "checkpoint.storage": Mutability.WHILE_SUSPENDED,
    "checkpoint.storage.uri": Mutability.NEVER,
    "checkpoint.adopt": Mutability.WHILE_SUSPENDED,
    "checkpoint.allowChanges": Mutability.ALWAYS,
    "checkpoint.everySteps": Mutability.WHILE_SUSPENDED,
    "checkpoint.everySeconds": Mutability.WHILE_SUSPENDED,
    "checkpoint.keep": Mutability.WHILE_SUSPENDED,
    "recovery.maxFailures": Mutability.ALWAYS,
    "recovery.heartbeatTimeoutSeconds": Mutability.WHILE_SUSPENDED,
    "recovery.joinWindowSeconds": Mutability.WHILE_SUSPENDED,
    "recovery.replaceAfterSeconds": Mutability.ALWAYS,
    "recovery.startupTimeoutSeconds": Mutability.ALWAYS,
    "recovery.rules": Mutability.ALWAYS,
    "divergence.onNonFinite": Mutability.WHILE_SUSPENDED,
    "network": Mutability.WHILE_SUSPENDED,
    "rollback": Mutability.ALWAYS,
    "suspend": Mutability.ALWAYS,
    "managedBy": Mutability.NEVER,
    "activeDeadlineSeconds": Mutability.ALWAYS,
    "ttlSecondsAfterFinished": Mutability.ALWAYS,
    "podRetention": Mutability.ALWAYS,
}
"""By path below spec. A path speaks for all below it but those that have a line of their own."""

_SAYS = {
    Mutability.NEVER: "cannot be changed; make a new job",
    Mutability.WHILE_SUSPENDED: "can be changed only while suspend is true; suspend the job first",
    Mutability.AT_REST: "can be changed only while suspend is true or when the job is complete; suspend the job first",
}
COMPLETE_PHASE = "Succeeded"
"""status.phase of a job that is complete."""


def of(path: str) -> Mutability | None:
    """The mutability of the field at `path`; None for an object that is a mixture of its fields."""
    while path and path not in TABLE:
        path = path.rpartition(".")[0]
    return TABLE.get(path)


def pin(spec: Schema) -> None:
    """Put a CEL rule for every line of the table into `spec`, the spec's schema.

    The API server runs them at every write, also of the status, and pays for every field that is named: it makes tables of all properties
    of the objects that the field is in. So a rule stands as deep as it can: what may never change on the field itself, unless that may be
    absent; then it stands on the object, so that removing the field and adding it again is a change too. What the suspension decides
    stands on the spec, where that is seen.
    """
    for path, mutability in TABLE.items():
        if mutability is Mutability.NEVER:
            place, rest = _deepest(spec, path)
            _add(place, _unchanged(place, rest), rest, _SAYS[mutability])
        elif mutability is Mutability.WHILE_SUSPENDED:
            _add(spec, f"{_unchanged(spec, path)} || oldSelf.suspend", path, _SAYS[mutability])


def pin_whole(whole: Schema) -> None:
    """Put the rules that look at the status into `whole`, the schema of a TrainingJob: no rule within the spec sees it."""
    complete = f"(has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == '{COMPLETE_PHASE}')"
    for path, mutability in TABLE.items():
        if mutability is Mutability.AT_REST:
            place = f"spec.{path}"
            _add(whole, f"{_unchanged(whole, place)} || oldSelf.spec.suspend || {complete}", place, _SAYS[mutability])


def _add(place: Schema, rule: str, path: str, message: str) -> None:
    where = {"fieldPath": f".{path}"} if path else {}
    place[RULES] = [*place.get(RULES, ()), {"rule": rule, "message": message, "reason": "FieldValueForbidden"} | where]


def refused(old: JobSpec, new: JobSpec, *, complete: bool = False) -> list[str]:
    """What of the change from `old` to `new` is not allowed, one line for each field, as the API server says it.

    Args:
        old: the spec as it is.
        new: the spec as it is to be.
        complete: the job is complete.
    """
    allowed = {Mutability.ALWAYS} | ({Mutability.WHILE_SUSPENDED, Mutability.AT_REST} if old.suspend else set())
    allowed |= {Mutability.AT_REST} if complete else set()
    before, after = (spec.model_dump(mode="json", by_alias=True, exclude_none=True) for spec in (old, new))
    return [
        f"spec.{path} {_SAYS[mutability]}"
        for path, mutability in TABLE.items()
        if mutability not in allowed and _at(before, path) != _at(after, path)
    ]


def _deepest(schema: Schema, path: str) -> tuple[Schema, str]:
    """The schema of the field at `path`, or of the object in which it may be absent; and the rest of the path from there."""
    name, _, rest = path.partition(".")
    if not path or _may_be_absent(schema, name):
        return schema, path
    return _deepest(schema["properties"][name], rest)


def _unchanged(schema: Schema, path: str) -> str:
    """A CEL expression on an object of `schema`: the field at `path` is as it was, or absent as it was."""
    field, absentable = "", []
    for name in filter(None, path.split(".")):
        field += f".{name}"
        if _may_be_absent(schema, name):
            absentable.append(field)
        schema = schema["properties"][name]
    same = f"self{field} == oldSelf{field}"
    if not absentable:
        return same
    now, before = (" && ".join(f"has({root}{each})" for each in absentable) for root in ("self", "oldSelf"))
    return f"({now} ? {before} && {same} : !({before}))"


def _may_be_absent(schema: Schema, name: str) -> bool:
    """The field is neither required nor given a default by the API server."""
    return name not in schema.get("required", ()) and "default" not in schema["properties"][name]


def _at(body: dict[str, Any], path: str) -> Any:
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
