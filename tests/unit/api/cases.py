"""What the table of manifests is made of.

A manifest is the smallest valid one with an overlay: maps are merged, and `null` removes a field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

MINIMAL = """
apiVersion: batch.trainingjob.dev/v1alpha1
kind: TrainingJob
metadata: {name: digits}
spec:
  training:
    task: {class: "trainingjob_trainer.tasks.digits:Digits"}
    epochs: 3
  checkpoint:
    storage: {uri: "s3://bucket/jobs/digits"}
"""


@dataclass(frozen=True)
class Valid:
    """A manifest that is accepted."""

    id: str
    overlay: str = "{}"

    def body(self) -> dict[str, Any]:
        return merged(yaml(MINIMAL), yaml(self.overlay))


@dataclass(frozen=True)
class Invalid:
    """A manifest that is refused."""

    id: str
    overlay: str
    field: str
    """Where the message says the mistake is."""
    message: str
    """What the message says of it."""
    server: bool = True
    """Whether the API server refuses it too; what it does not see, the operator does."""

    def body(self) -> dict[str, Any]:
        return merged(yaml(MINIMAL), yaml(self.overlay))


@dataclass(frozen=True)
class Malformed:
    """A text that is no TrainingJob at all."""

    id: str
    text: str
    message: str


@dataclass(frozen=True)
class Change:
    """A change of an existing object."""

    id: str
    before: str
    after: str
    refused: str | None = None
    """What the refusal says, or None where the change is accepted."""

    def bodies(self) -> tuple[dict[str, Any], dict[str, Any]]:
        old = merged(yaml(MINIMAL), yaml(self.before))
        return old, merged(merged(yaml(MINIMAL), yaml(self.before)), yaml(self.after))


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def dump(body: dict[str, Any]) -> str:
    """JSON, which is YAML that nobody reads otherwise: a text stays a text."""
    return json.dumps(body).replace("Infinity", ".inf").replace("NaN", ".nan")


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in overlay.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def merge(first: str, second: str) -> str:
    """Two overlays as one; `null` of the first stays."""
    base, over = yaml(first), yaml(second)
    return dump(_layered(base, over))


def _layered(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _layered(result[key], value) if both else value
    return result


def template(fields: str) -> str:
    return "{spec: {workers: {template: " + fields + "}}}"


def network(fields: str) -> str:
    """One destination of the job's pods."""
    return "{spec: {network: {egress: [" + fields + "]}}}"


def training(fields: str) -> str:
    return "{spec: {training: " + fields + "}}"


def checkpoint(fields: str) -> str:
    return "{spec: {checkpoint: " + fields + "}}"


SCRIPT = "{spec: {training: {task: null, epochs: null, script: {command: [python, train.py]}}}}"
