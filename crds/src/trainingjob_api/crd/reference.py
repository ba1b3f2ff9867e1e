"""The API reference, docs/api.md, made from the CustomResourceDefinition. Pure; `trainingjob_cli.generate` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from trainingjob_api import resource
from trainingjob_api.crd import mutability
from trainingjob_api.crd.definition import schema
from trainingjob_api.crd.schema import Schema
from trainingjob_api.spec.base import RULES

INTRODUCTION = f"""# TrainingJob, {resource.API_VERSION}

This page is generated from the models by `make generate`; `kubectl explain {resource.PLURAL}.{resource.GROUP}.spec` says the same.

A field without a default is optional, unless it is marked **required**. The column *change* says when a field may be changed after the job
was made: *always*; only while `suspend` is true (*suspended*), or also when the job is complete (*suspended or complete*); or
*never*. The API server refuses other changes.
"""
_CHANGE = {
    mutability.Mutability.ALWAYS: "always",
    mutability.Mutability.WHILE_SUSPENDED: "suspended",
    mutability.Mutability.AT_REST: "suspended or complete",
    mutability.Mutability.NEVER: "never",
    None: "see its fields",
}


def reference() -> str:
    """The page, in Markdown: a table for each object of the spec and the status, and the columns of `kubectl get`."""
    whole = schema()["properties"]
    parts = [INTRODUCTION]
    parts += [_section(path, found, changes=True) for path, found in _objects("spec", whole["spec"])]
    parts += [_section(path, found, changes=False) for path, found in _objects("status", whole["status"])]
    parts.append(_columns())
    return "\n".join(parts)


def _objects(path: str, found: Schema) -> Iterator[tuple[str, Schema]]:
    """Every object with fields of its own, the outer one first."""
    if "properties" in found:
        yield path, found
        for name, child in found["properties"].items():
            yield from _objects(f"{path}.{name}", child)
    elif "items" in found:
        yield from _objects(f"{path}[]", found["items"])


def _section(path: str, found: Schema, *, changes: bool) -> str:
    lines = [f"## {path}" if "." not in path else f"### {path}", "", found.get("description", ""), ""]
    header = ["field", "type", "default", "change", "description"] if changes else ["field", "type", "description"]
    lines += [_row(header), _row(["---"] * len(header))]
    for name, field in found["properties"].items():
        inner = f"{path}.{name}".partition(".")[2].replace("[]", "")
        middle = [_default(name, field, found), _CHANGE[mutability.of(inner)]] if changes else []
        lines.append(_row([f"`{name}`", _type(field), *middle, field.get("description", "")]))
    checks = [rule for rule in found.get(RULES, ()) if "oldSelf" not in rule["rule"]]
    if checks:
        lines += ["", "Checked by the API server:", ""]
        lines += [f"- {_subject(rule)}{rule['message']}" for rule in checks]
    return "\n".join([*lines, ""])


def _subject(rule: dict[str, str]) -> str:
    field = rule.get("fieldPath", "").lstrip(".")
    return f"`{field}` " if field else ""


def _columns() -> str:
    lines = ["## Columns of `kubectl get`", "", _row(["column", "from", "meaning"]), _row(["---"] * 3)]
    lines += [_row([name.upper(), f"`{path}`", meaning]) for name, _, path, meaning in resource.COLUMNS]
    lines += [_row([f"{name.upper()} (`--output wide`)", f"`{path}`", meaning]) for name, _, path, meaning in resource.WIDE_COLUMNS]
    return "\n".join([*lines, ""])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _default(name: str, field: Schema, parent: Schema) -> str:
    if name in parent.get("required", ()):
        return "**required**"
    default: Any = field.get("default")
    return "" if default is None or isinstance(default, dict | list) else f"`{json.dumps(default)}`"


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{choice}`" if choice else '`""`' for choice in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return "any"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}, at most {field['maxItems']}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}, at most {field['maxProperties']}"
    if field.get("format") == "date-time":
        return "time"
    return f"{field['type']}{_range(field)}"


def _range(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above = "more than" if field.get("exclusiveMinimum") else "at least"
    below = "less than" if field.get("exclusiveMaximum") else "at most"
    bounds = [f"{above} {low}"] if low is not None else []
    bounds += [f"{below} {high}"] if high is not None else []
    return ", " + ", ".join(bounds) if bounds else ""
