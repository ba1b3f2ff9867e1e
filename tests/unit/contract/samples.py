"""A message of every model of the contract, with all its fields set: found by looking, so that none is forgotten."""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from trainingjob_api.contract import channel, intent, messages, runtime, stamps
from trainingjob_api.contract.runtime import Environment
from trainingjob_api.storage import entries, manifest

MODULES = {
    "messages": messages,
    "stamps": stamps,
    "intent": intent,
    "channel": channel,
    "runtime": runtime,
    "entries": entries,
    "manifest": manifest,
}
_BASES = {messages.Record, runtime.Environment, entries.Entry, entries.Unknown, manifest.Part}
_LABEL = "00000007-a1e2n3"
_HASH = "0123456789abcdef" * 4
_SHARD = "00000.safetensors"
_SLICE = {"name": "model/weight", "shard": _SHARD, "global_shape": (2, 3), "dtype": "F32", "kind": "sharded", "begin": 0}
_CHOSEN: dict[type[BaseModel], dict[str, Any]] = {
    entries.Checkpoint: {"save": _LABEL, "manifest_sha256": _HASH},
    entries.Rollback: {"save": _LABEL},
    entries.Quarantine: {"save": _LABEL},
    entries.Pin: {"save": _LABEL},
    entries.Drop: {"saves": (_LABEL,)},
    manifest.ShardFile: {"name": _SHARD, "bytes": 100, "sha256": None, "blake3": _HASH, "front_bytes": 40, "front_blake3": _HASH},
    manifest.TensorSlice: _SLICE | {"start": 0, "stop": 6, "end": 24, "offsets": None, "shape": None},
    manifest.Manifest: {
        "save": _LABEL,
        "tensors": (
            manifest.TensorSlice(**_SLICE, start=0, stop=6, end=24),
            manifest.TensorSlice(**_SLICE, offsets=(0, 1), shape=(2, 1), end=8),
        ),
    },
}
"""Values that must be of a form, or fit to each other."""


def models(module: str) -> dict[str, type[BaseModel]]:
    """The models that a module defines, by name."""
    found = (value for value in vars(MODULES[module]).values() if isinstance(value, type) and issubclass(value, BaseModel))
    return {model.__name__: model for model in found if model.__module__ == MODULES[module].__name__ and model not in _BASES}


def full(model: type[BaseModel]) -> BaseModel:
    """With every field."""
    return _made(model, list(model.model_fields))


def least(model: type[BaseModel]) -> BaseModel:
    """With the fields that it must have, and what it is known by."""
    chosen = _CHOSEN.get(model, {})

    def is_needed(name: str, field: FieldInfo) -> bool:
        return field.is_required() or name in chosen or (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1)

    return _made(model, [name for name, field in model.model_fields.items() if is_needed(name, field)])


def written(message: BaseModel) -> Any:
    """As it crosses the boundary: variables of an environment, or JSON. Of a field that was not set nothing is written."""
    if isinstance(message, Environment):
        unset = {runtime.PREFIX + name.upper() for name in type(message).model_fields if name not in message.model_fields_set}
        return {name: value for name, value in message.to_env().items() if name not in unset}
    return message.model_dump(mode="json", exclude_unset=True)


def read(model: type[BaseModel], text: Any) -> BaseModel:
    """What a process makes of it. Entries and manifests are read strictly, from JSON."""
    return model.from_env(text) if issubclass(model, Environment) else model.model_validate_json(json.dumps(text))


def _made(model: type[BaseModel], names: list[str]) -> BaseModel:
    chosen = _CHOSEN.get(model, {})
    return model(**{name: chosen[name] if name in chosen else _value(model.model_fields[name].annotation) for name in names})


def _value(kind: Any) -> Any:
    """A value of an annotation, another one than most defaults."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return _value(arguments[0])
    if get_origin(kind) is Literal:
        return arguments[-1]
    if get_origin(kind) is tuple:
        return (_value(arguments[0]),)
    if get_origin(kind) is dict:
        return {"name": 1.5 if arguments[1] == JsonValue else _value(arguments[1])}
    if hasattr(kind, "__metadata__"):
        return _value(kind.__origin__)
    return _simple(kind)


def _simple(kind: Any) -> Any:
    if issubclass(kind, BaseModel):
        return full(kind)
    if issubclass(kind, Enum):
        return list(kind)[-1]
    if hasattr(kind, "_fields"):
        return kind(*(number + 1 for number in range(len(kind._fields))))
    return {bool: True, int: 7, float: 1.5, str: "text"}[kind]
