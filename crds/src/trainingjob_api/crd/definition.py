"""The CustomResourceDefinition of TrainingJob, made from the models. Pure; `trainingjob_cli.generate` writes it."""

from __future__ import annotations

from typing import Any

from trainingjob_api import resource
from trainingjob_api.crd import mutability
from trainingjob_api.crd.schema import Schema, structural
from trainingjob_api.spec.base import RULES
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.status import Status

NAME_RULE = {
    "rule": "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "message": "metadata.name must be a DNS label: at most 63 lower case letters, digits and dashes, beginning with a letter",
}

SCALE = {"specReplicasPath": ".spec.workers.replicas", "statusReplicasPath": ".status.readyWorkers"}
"""What `kubectl scale` changes and reads. The rules of the spec hold for them too: minReplicas and maxReplicas bound it."""


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition, in apiextensions.k8s.io/v1."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.PLURAL}.{resource.GROUP}"},
        "spec": {
            "group": resource.GROUP,
            "names": {
                "kind": resource.KIND,
                "listKind": f"{resource.KIND}List",
                "plural": resource.PLURAL,
                "singular": resource.SINGULAR,
                "shortNames": [resource.SHORT],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": resource.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, "scale": SCALE},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path} | ({} if kind == "date" else {"description": description})
                        for name, kind, path, description in resource.COLUMNS
                    ]
                    + [
                        {"name": name, "type": kind, "jsonPath": path, "description": description, "priority": 1}
                        for name, kind, path, description in resource.WIDE_COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


def schema() -> Schema:
    """The structural schema of a whole TrainingJob."""
    spec = structural(JobSpec)
    mutability.pin(spec)
    whole: Schema = {
        "type": "object",
        "description": "A training job that outlives its processes, pods and nodes, and can be stepped back to any kept checkpoint.",
        "required": ["spec"],
        RULES: [NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 253},
            "kind": {"type": "string", "maxLength": 63},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural(Status, defaults=False),
        },
    }
    mutability.pin_whole(whole)
    return whole
