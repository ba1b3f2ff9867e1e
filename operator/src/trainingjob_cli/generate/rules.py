"""The chart's rules for the operator's identity, from the kinds and their tables of children. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from trainingjob_operator.engine.resources import ChildKind, Made, Resource, Watched
from trainingjob_operator.kinds import KINDS

_HEAD = """\
{{/* Generated from trainingjob_operator/kinds.py by `make generate`; do not edit. */}}

{{/* What the operator may do where it looks after jobs. Children are only watched, never read one by one; Secrets are never read. */}}
{{- define "trainingjob-operator.rules" -}}
"""
_EVENTS = """\
# A job's story in `kubectl describe`.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What the operator makes for jobs, as the resources of an admission policy. */}}
{{- define "trainingjob-operator.children" -}}
"""
_NODES = """\
{{- end }}

{{/* The one thing that it is to know of no namespace. */}}
{{- define "trainingjob-operator.nodeRules" -}}
# A worker on a node that is lost, or about to be, is replaced.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
"""


def rules_text() -> str:
    """Return the chart's template."""
    of_kinds = "".join(_kind(kind) for kind in KINDS)
    rows: dict[Resource, list[ChildKind[Any]]] = {}
    for row in chain.from_iterable(KINDS.values()):
        rows.setdefault(row.resource, []).append(row)
    return _HEAD + of_kinds + "".join(map(_child, rows.values())) + _EVENTS + "".join(_guarded(list(rows))) + _NODES


def _kind(kind: Resource) -> str:
    return (
        _rule(f"It follows every {kind.noun}, and deletes a finished one after ttlSecondsAfterFinished.", kind, "get, list, watch, delete")
        + _rule("What it decides is written to the status before it takes effect.", kind, "patch", "/status")
        + _rule(
            "Owner references with blockOwnerDeletion, on clusters with the admission plugin OwnerReferencesPermissionEnforcement.",
            kind,
            "update",
            "/finalizers",
        )
    )


def _child(rows: list[ChildKind[Any]]) -> str:
    """Return the rule for a resource that one kind owns, or several: it has what any of them needs."""
    verbs = ["list", "watch"] * any(row.watched is not Watched.NEVER for row in rows)
    verbs += ["create"] + ["patch"] * any(row.made is Made.APPLY for row in rows) + ["delete"] * any(row.deleted for row in rows)
    return _rule(" ".join(dict.fromkeys(row.why for row in rows)), rows[0].resource, ", ".join(verbs))


def _rule(why: str, resource: Resource, verbs: str, part: str = "") -> str:
    return f"# {why}\n- apiGroups: [{resource.group or chr(34) * 2}]\n  resources: [{resource.plural}{part}]\n  verbs: [{verbs}]\n"


def _guarded(resources: list[Resource]) -> Iterator[str]:
    for group in dict.fromkeys(resource.group for resource in resources):
        plurals = ", ".join(resource.plural for resource in resources if resource.group == group)
        yield f"- apiGroups: [{group or chr(34) * 2}]\n"
        yield f'  apiVersions: ["*"]\n  operations: [CREATE, UPDATE, DELETE]\n  resources: [{plurals}]\n'
