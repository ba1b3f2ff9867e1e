"""Every field of the schema, each at one place of one valid manifest. Pure.

An object that the schema has in several places (a label selector, say) is looked at in the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainingjob_api.crd.definition import schema
from unit.api.cases import Valid, template, training
from unit.api.manifests import VALID

Path = tuple[str | int, ...]
Field = tuple[str, str]
"""The schema of an object, list or map, and the name of a field; "" for an entry."""

SELECTOR = "{matchExpressions: [{key: team, operator: In, values: [vision]}]}"
OTHERS = (
    Valid(
        "others", "{spec: {image: a, checkpoint: {adopt: true, everySteps: 5}, recovery: {joinWindowSeconds: 1, replaceAfterSeconds: 9}}}"
    ),
    Valid("startup", "{spec: {recovery: {startupTimeoutSeconds: 9}}}"),
    Valid("batch", training("{globalBatchSize: 32, seed: 7, strategy: {type: DataParallel}, evaluation: {everyEpochs: 2}}")),
    Valid("adam", training("{optimizer: {name: Adam, weightDecay: 0.1, beta1: 0.5, beta2: 0.5, epsilon: 0.1}}")),
    Valid("rmsprop", training("{optimizer: {name: RMSprop, alpha: 0.5}, schedule: {name: Linear, warmupSteps: 5, minimumFraction: 0.1}}")),
    Valid("claims", template("{resources: {claims: [{name: a, request: b}]}, resourceClaims: [{name: a, resourceClaimName: c}]}")),
    Valid("keys", template("{env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b, optional: true}}}]}")),
    Valid("sources", template("{envFrom: [{secretRef: {name: a, optional: true}}]}")),
    Valid(
        "volume",
        template("{volumes: [{name: a, configMap: {name: b, optional: true, defaultMode: 7, items: [{key: k, path: p, mode: 7}]}}]}"),
    ),
    Valid("secret", template("{volumes: [{name: a, secret: {secretName: b, optional: true}}]}")),
    Valid("tolerations", template("{tolerations: [{key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 5}]}")),
    Valid(
        "user",
        template("{securityContext: {runAsGroup: 7, fsGroup: 7, fsGroupChangePolicy: Always, supplementalGroups: [8]}}"),
    ),
    Valid(
        "nodes",
        template(
            "{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution:"
            " [{weight: 1, preference: {matchFields: [{key: metadata.name, operator: In, values: [a]}]}}]}}}"
        ),
    ),
    Valid(
        "pods",
        template(
            "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, namespaces: [a],"
            f" labelSelector: {SELECTOR}, namespaceSelector: {SELECTOR}, matchLabelKeys: [a], mismatchLabelKeys: [b]}}]}}}}}}"
        ),
    ),
    Valid(
        "spread",
        template(
            "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2,"
            f" labelSelector: {SELECTOR}, matchLabelKeys: [a], nodeAffinityPolicy: Honor, nodeTaintsPolicy: Honor}}]}}"
        ),
    ),
)
"""What no manifest of the unit tests' table has."""


@dataclass(frozen=True)
class Place:
    """Where a field is, in a manifest that has it."""

    body: dict[str, Any]
    path: Path
    """Below spec."""

    @property
    def name(self) -> str:
        """The path, without the numbers of entries."""
        return ".".join(str(part) if isinstance(part, str) else "[]" for part in self.path).replace(".[]", "[]")

    @property
    def part(self) -> str:
        """The part of the spec that it belongs to: two names at most, three in the template."""
        names = self.name.split(".")
        return ".".join(names[: 3 if names[:2] == ["workers", "template"] else 2]).replace("[]", "")


def identity(found: dict[str, Any]) -> str:
    """The schema as a text, without what it says to people."""
    return json.dumps(without_words(found), sort_keys=True)


def without_words(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: without_words(value) for key, value in found.items() if key != "description" or isinstance(value, dict)}
    return found


def children(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schemas inside a schema; "" is the one of an entry."""
    entry = found.get("items", found.get("additionalProperties"))
    return found.get("properties", {}) | ({"": entry} if entry else {})


def every_field(found: dict[str, Any] | None = None) -> set[Field]:
    """Every field of the spec."""
    found = schema()["properties"]["spec"] if found is None else found
    own = {(identity(found), name) for name in children(found)}
    return own.union(*(every_field(child) for child in children(found).values()))


def fields(value: Any, found: dict[str, Any], path: Path = ()) -> Iterator[tuple[Field, Path]]:
    """Every field and entry in a value, with its place."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        name = key if key in children(found) else ""
        if name in children(found):
            yield (identity(found), name), (*path, key)
            yield from fields(child, children(found)[name], (*path, key))


def every_place() -> dict[Field, Place]:
    """Each field once, in the first manifest that has it."""
    result: dict[Field, Place] = {}
    for case in (*VALID, *OTHERS):
        for field, path in fields(case.body()["spec"], schema()["properties"]["spec"]):
            result.setdefault(field, Place(case.body(), path))
    return result


PLACES = every_place()
