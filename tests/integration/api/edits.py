"""For every line of the mutability table: what the field is set to, and what it is changed to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unit.api.manifests import MINIMAL, yaml


@dataclass(frozen=True)
class Sample:
    """Two values of one field, neither of them its default unless it has no other."""

    value: Any
    other: Any = None
    """None: the field has only one value."""
    around: dict[str, Any] = field(default_factory=dict)
    """What the rest of the spec must have for them, by path; None takes a field away."""


URI = "checkpoint.storage.uri"
SCRIPT = {"training.task": None, "training.epochs": None}
DETERMINISTIC = {"training.reduction": "Deterministic"}

SAMPLES = {
    "image": Sample("registry.example.com/a:1", "registry.example.com/a:2"),
    "workers.replicas": Sample(3, 4),
    "workers.minReplicas": Sample(1, 2, {"workers.replicas": 3}),
    "workers.maxReplicas": Sample(8, 9),
    "workers.spares": Sample(1, 2),
    "workers.processesPerWorker": Sample(2, 3),
    "workers.gpus": Sample(2, 3),
    "workers.gpuResourceName": Sample("amd.com/gpu", "gpu.intel.com/xe"),
    "workers.template": Sample({"schedulerName": "volcano"}, {"schedulerName": "kueue"}),
    "training.task": Sample({"class": "a:B"}, {"class": "a:C"}),
    "training.script": Sample({"command": ["a"]}, {"command": ["b"]}, SCRIPT),
    "training.strategy": Sample({"type": "DataParallel"}),
    "training.optimizer": Sample({"learningRate": 0.1}, {"learningRate": 0.2}),
    "training.optimizer.name": Sample("SGD", "Adagrad"),
    "training.schedule": Sample({"name": "Linear"}, {"name": "Cosine"}),
    "training.regularisation": Sample({"l1": 0.1}, {"l1": 0.2}),
    "training.globalBatchSize": Sample(32, 16),
    "training.microBatchSize": Sample(8, 4),
    "training.epochs": Sample(5, 6),
    "training.steps": Sample(5, 6, {"training.epochs": None}),
    "training.seed": Sample(7, 8),
    "training.reduction": Sample("Deterministic", "Fast"),
    "training.lanes": Sample(4, 8, DETERMINISTIC),
    "training.split": Sample({"test": 0.2}, {"test": 0.3}),
    "training.evaluation": Sample({"everyEpochs": 2}, {"everyEpochs": 3}),
    "training.earlyStopping": Sample({"patience": 2}, {"patience": 4}),
    "training.threads": Sample(2, 3),
    "checkpoint.storage": Sample({"uri": "s3://a", "region": "eu-west-1"}, {"uri": "s3://a", "region": "eu-west-2"}),
    "checkpoint.storage.uri": Sample("s3://bucket/a", "s3://bucket/b"),
    "checkpoint.adopt": Sample(True, False),
    "checkpoint.allowChanges": Sample(True, False),
    "checkpoint.everySteps": Sample(5, 6),
    "checkpoint.everySeconds": Sample(5, 6),
    "checkpoint.keep": Sample(5, 6),
    "network": Sample({"egress": []}, {"egress": [{"cidr": "10.0.0.0/8"}]}),
    "recovery.maxFailures": Sample(1, 2),
    "recovery.heartbeatTimeoutSeconds": Sample(4.5, 5.5),
    "recovery.joinWindowSeconds": Sample(1.5, 2.5),
    "recovery.replaceAfterSeconds": Sample(31, 32),
    "recovery.startupTimeoutSeconds": Sample(601, 602),
    "recovery.rules": Sample([{"exitCodes": [1], "action": "Fail"}], [{"exitCodes": [1], "action": "Count"}]),
    "divergence.onNonFinite": Sample("Ignore", "Fail"),
    "rollback": Sample({"toStep": 1, "request": "a"}, {"toStep": 2, "request": "b"}),
    "managedBy": Sample("example.com/a", "example.com/b"),
    "activeDeadlineSeconds": Sample(5, 6),
    "ttlSecondsAfterFinished": Sample(5, 6),
    "podRetention": Sample("Always", "Never"),
}


def nested(path: str, value: Any) -> dict[str, Any]:
    """A merge patch of one field of the spec."""
    for name in reversed(["spec", *path.split(".")]):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def overlay(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A JSON merge patch, carried out; an object that had nothing in it is there all the same."""
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = overlay(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def manifest(path: str, *, suspended: bool, given: bool) -> dict[str, Any]:
    """A job with the sample's first value at `path`, or with nothing there."""
    sample = SAMPLES[path]
    body: dict[str, Any] = yaml(MINIMAL)
    patches = [nested("suspend", suspended), *(nested(*line) for line in sample.around.items())]
    for patch in [*patches, nested(path, None), *([nested(path, sample.value)] if given else [])]:
        body = overlay(body, patch)
    return body
