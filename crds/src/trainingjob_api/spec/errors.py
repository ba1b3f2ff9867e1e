"""Says in a person's words what is wrong with a manifest: the field as the manifest spells it, the reason, the fix. Pure."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainingjob_api.spec.patterns import FORMS

_Location = tuple[int | str, ...]

_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}

_PASSWORD = re.compile(r"(?<=//)[^/@]+(?=@)")
"""User and password in an address: they would be shown wherever the message is."""


def explain(error: ValidationError, model: type[BaseModel], root: str = "") -> list[str]:
    """One line for each mistake, such as `spec.workers.minReplicas: 5 is more than replicas (3); lower it or raise replicas`.

    Args:
        error: what validating `model` raised.
        model: the model that was validated.
        root: the path of the validated object in the manifest: "" for a whole TrainingJob, "spec" for a JobSpec.
    """
    lines = []
    for detail in error.errors(include_url=False):
        location, reason = _reason(detail, model)
        lines.append(f"{_path(root, location) or 'the manifest'}: {reason}")
    return list(dict.fromkeys(lines))


def closest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that `word` most likely was meant to be."""
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def _reason(detail: ErrorDetails, model: type[BaseModel]) -> tuple[_Location, str]:
    location, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    if kind == "refused":
        return (*location, *filter(None, [context["field"]])), str(context["reason"])
    if location and location[-1] == "[key]":
        return location[:-2], f"a key {_about(detail)}"
    if kind == "extra_forbidden":
        return location, _unknown(str(location[-1]), fields_at(model, location[:-1]))
    return location, _about(detail)


def _about(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "is needed; add it"
    if kind in _KINDS:
        return f"is {_said(value)}, not {_KINDS[kind]}{_retype(kind, value)}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"is {_said(value)}; it must be {words} {_said(context[key])}"
    describe = _DESCRIBE.get(kind)
    return describe(value, context) if describe else f"{detail['msg'][0].lower()}{detail['msg'][1:]}"


def _choice(value: Any, context: Mapping[str, Any]) -> str:
    choices = [part.strip("'") for part in context["expected"].replace(" or ", ", ").split(", ")]
    guess = closest(str(value), choices)
    known = f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"
    return f"is {_said(value)}; it {known}" + (f"; did you mean {guess}?" if guess and len(choices) > 1 else "")


def _pattern(value: Any, context: Mapping[str, Any]) -> str:
    return f"is {_said(value)}; give {FORMS.get(context['pattern'], context['pattern'])}"


_DESCRIBE: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "literal_error": _choice,
    "string_pattern_mismatch": _pattern,
    "string_too_long": lambda value, context: f"has {len(value)} characters; shorten it to {context['max_length']}",
    "string_too_short": lambda value, context: "is empty; fill it in, or remove it",
    "too_long": lambda value, context: f"has {len(value)} entries; {context['max_length']} is the most",
    "too_short": lambda value, context: f"has {len(value)} entries; at least {context['min_length']} is needed",
    "finite_number": lambda value, context: f"is {value}; it must be a finite number",
}


def _retype(kind: str, value: Any) -> str:
    """How to write it instead."""
    if kind == "string_type" and value is not None and not isinstance(value, Mapping | list):
        return "; put it in quotes"
    if isinstance(value, str) and kind in ("int_type", "float_type"):
        return "; write it without quotes" if value.replace(".", "", 1).isdigit() else "; write a number"
    if kind == "bool_type" and str(value).lower() in ("yes", "no", "on", "off", "true", "false"):
        return f"; write {'true' if str(value).lower() in ('yes', 'on', 'true') else 'false'}"
    return "; correct it"


def _said(value: Any) -> str:
    """The value as the manifest has it, or what it is where it is large."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping | BaseModel):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _PASSWORD.sub("…", repr(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _unknown(name: str, known: list[str]) -> str:
    guess = closest(name, known)
    if guess is not None:
        return f"there is no such field; did you mean {guess}?"
    return "there is no such field; remove it" + (f" (known are {', '.join(known)})" if known else "")


def _path(root: str, location: _Location) -> str:
    path = root
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part and all(character.isalnum() or character in "_.[]-" for character in part):
            path += f".{part}" if path and not part.startswith("[") else part
        else:
            path += f"[{part!r}]"
    return path


def fields_at(model: type[BaseModel], location: _Location) -> list[str]:
    """The fields, as the manifest spells them, that the object at `location` may have; empty where it is no model."""
    found: Any = model
    for part in location:
        found = _step(found, part)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return [field.alias or name for name, field in found.model_fields.items()]
    return []


def _step(annotation: Any, part: int | str) -> Any:
    """The type of one entry or field of a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return next((_bare(field.annotation) for name, field in annotation.model_fields.items() if part in (field.alias, name)), None)
    arguments = typing.get_args(annotation)
    return _bare(arguments[-1] if typing.get_origin(annotation) is dict else arguments[0]) if arguments else None


def _bare(annotation: Any) -> Any:
    """The type without Annotated and `| None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(_bare(choice) for choice in typing.get_args(annotation) if choice is not type(None))
    return annotation
