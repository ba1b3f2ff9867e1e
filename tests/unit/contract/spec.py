"""Every field of the spec with its default, as golden/spec.json keeps them. Pure.

The pods' own template is left out: workers are not sent it.
"""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainingjob_api.spec.job import JobSpec

NEEDED = "needed"
"""Stands for the default of a field that has none."""
_UNSENT = "workers.template"
Fields = dict[str, Any]
"""Path below spec -> {"default": what a reader takes where the field is absent}, or NEEDED."""


def fields(model: type[BaseModel] = JobSpec, above: str = "") -> Fields:
    """Return the fields of `model`, and of what it holds."""
    found: Fields = {}
    for name, field in model.model_fields.items():
        path = f"{above}{field.alias or name}"
        if path == _UNSENT:
            continue
        found[path] = _default(field)
        for inner in _models(field.annotation):
            found |= fields(inner, path + ".")
    return found


def broken(before: Fields, now: Fields) -> list[str]:
    """Return what a reader of `before` would take otherwise than a sender of `now` means it."""
    lost = [f"spec.{path}: is gone" for path in before.keys() - now.keys()]
    changed = [
        f"spec.{path}: its default was {before[path]}, and is {now[path]}" for path in before if now.get(path, before[path]) != before[path]
    ]
    needed = [
        f"spec.{path}: is new, and has no default"
        for path in now.keys() - before.keys()
        if now[path] == NEEDED and _is_inside(path, before)
    ]
    return sorted([*lost, *changed, *needed])


def _is_inside(path: str, before: Fields) -> bool:
    """Return whether the object that holds the field was there before. A new object may need fields."""
    above = path.rpartition(".")[0]
    return not above or above in before


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return NEEDED
    default = field.get_default(call_default_factory=True)
    # an object's own fields are listed below it
    return {"default": default.model_dump(mode="json", by_alias=True, exclude_defaults=True) if isinstance(default, BaseModel) else default}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]
