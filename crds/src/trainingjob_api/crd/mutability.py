"""Which fields of a spec may change, and when: one table, from which the API server's rules and the reference are made. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from trainingjob_api.crd.schema import Schema
from trainingjob_api.spec.job import JobSpec


class Mutability(StrEnum):
    """When a field may change after the object was made."""

    ALWAYS = "Always"
    """At any time; the operator acts on it at once."""
    WHILE_SUSPENDED = "WhileSuspended"
    """While suspend is true: running workers have it pinned, and read it again when the job goes on."""
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
    "training.epochs": Mutability.WHILE_SUSPENDED,
    "training.steps": Mutability.WHILE_SUSPENDED,
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
}


def of(path: str) -> Mutability | None:
    """The mutability of the field at `path`; None for an object that is a mixture of its fields."""
    while path and path not in TABLE:
        path = path.rpartition(".")[0]
    return TABLE.get(path)


def rules(spec: Schema) -> list[dict[str, str]]:
    """CEL rules for `spec`, the spec's schema: it is the parent of all, so that removing a field and adding it again is a change too.

    The API server runs them at every write, also of the status, and pays for every field that is named: it makes a table of all properties
    of the object that the field is in. So a rule asks for no more than it must: has() only of what may be absent, and the suspension last.
    """
    suspended = f" || {_all_of(_absentable('oldSelf.suspend', spec), 'oldSelf.suspend')}"
    return [
        {
            "rule": _unchanged(path, spec) + (suspended if mutability is Mutability.WHILE_SUSPENDED else ""),
            "message": f"{path} {_SAYS[mutability]}",
            "reason": "FieldValueForbidden",
        }
        for path, mutability in TABLE.items()
        if mutability is not Mutability.ALWAYS
    ]


def refused(old: JobSpec, new: JobSpec) -> list[str]:
    """What of the change from `old` to `new` is not allowed, one line for each field, as the API server says it."""
    before, after = (spec.model_dump(mode="json", by_alias=True, exclude_none=True) for spec in (old, new))
    return [
        f"spec.{path} {_SAYS[mutability]}"
        for path, mutability in TABLE.items()
        if mutability is not Mutability.ALWAYS
        and not (mutability is Mutability.WHILE_SUSPENDED and old.suspend)
        and _at(before, path) != _at(after, path)
    ]


def _unchanged(path: str, spec: Schema) -> str:
    """A CEL expression: the field is as it was, or absent as it was."""
    new, old = f"self.{path}", f"oldSelf.{path}"
    now, before = (_all_of(_absentable(expression, spec)) for expression in (new, old))
    return f"({now} ? {before} && {new} == {old} : !({before}))" if now else f"{new} == {old}"


def _absentable(expression: str, spec: Schema) -> list[str]:
    """Of the field and all that it is in, what may be absent: neither required nor given a default by the API server."""
    root, *parts = expression.split(".")
    found, schema = [], spec
    for length, part in enumerate(parts, start=1):
        child = schema["properties"][part]
        if part not in schema.get("required", ()) and "default" not in child:
            found.append(".".join([root, *parts[:length]]))
        schema = child
    return found


def _all_of(absentable: list[str], *more: str) -> str:
    """A CEL expression: all of them are there, and the others are true."""
    return " && ".join([*(f"has({expression})" for expression in absentable), *more])


def _at(body: dict[str, Any], path: str) -> Any:
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
