"""Turns the JSON schema of a model into the structural schema that a CustomResourceDefinition takes. Pure.

It knows JSON schema and Kubernetes, and no field of the API.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_COPIED = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "default",
    "nullable",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
TIME_LENGTH = 40
"""Characters of the longest time stamp."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of `model`, as the manifest spells it.

    Args:
        model: the model.
        defaults: whether the API server is to fill in the models' defaults (a spec's), or not (a status').

    Raises:
        TypeError: when the model uses a type that has no structural schema.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(document, document.get("$defs", {}), defaults)


def _convert(schema: Schema, definitions: Schema, defaults: bool) -> Schema:
    merged = _without_null(_inlined(schema, definitions), definitions)
    if not any(key in merged for key in ("type", "enum", "const", "x-kubernetes-int-or-string")):
        free: Schema = {"x-kubernetes-preserve-unknown-fields": True}
        return _described(merged, free | ({"nullable": True} if merged.get("nullable") else {}))  # else the API server drops a null
    result: Schema = {key: merged[key] for key in _COPIED if key in merged}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())  # kubectl breaks lines where it likes, and keeps ours
    result |= {key: value for key, value in merged.items() if key.startswith("x-kubernetes-")}
    if result.get("default", ...) is None or not defaults:
        result.pop("default", None)
    if "const" in merged:
        result |= {"enum": [merged["const"]], "type": merged.get("type", "string")}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in merged:
            result |= {bound: merged[exclusive], exclusive: True}
    if merged.get("uniqueItems"):
        result["x-kubernetes-list-type"] = "set"
    if merged.get("format") == "date-time":
        result["maxLength"] = TIME_LENGTH
    if "prefixItems" in merged:
        raise TypeError(f"a tuple of fixed places has no structural schema: {schema}")
    return result | _children(merged, definitions, defaults)


def _children(schema: Schema, definitions: Schema, defaults: bool) -> Schema:
    """What is inside an object or a list."""
    if "properties" in schema:
        return {"properties": _properties(schema, definitions, defaults)}
    if schema.get("type") == "object":
        values: Any = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), {})
        return {"additionalProperties": _convert(values if isinstance(values, dict) else {}, definitions, defaults)}
    if schema.get("type") == "array":
        return {"items": _convert(schema["items"], definitions, defaults)}
    return {}


def _properties(schema: Schema, definitions: Schema, defaults: bool) -> Schema:
    required = schema.get("required", ())
    result = {}
    for name, child in schema["properties"].items():
        converted = _convert(child, definitions, defaults)
        if defaults and name not in required and "default" not in child:
            # A default that a factory makes is not in the JSON schema. It is given whole, since rules see it before it is filled.
            inner = converted.get("properties", {})
            whole = {name: child["default"] for name, child in inner.items() if "default" in child}
            converted["default"] = [] if converted.get("type") == "array" else whole
        result[name] = converted
    return result


def _inlined(schema: Schema, definitions: Schema) -> Schema:
    """The schema with the definition that it refers to in its place; what stands beside the reference wins."""
    if "$ref" not in schema:
        return schema
    target = definitions[schema["$ref"].rsplit("/", 1)[1]]
    return _inlined(target, definitions) | {key: value for key, value in schema.items() if key != "$ref"}


def _without_null(schema: Schema, definitions: Schema) -> Schema:
    """`X | null` as X: an absent field is absent, and not null."""
    if "anyOf" not in schema:
        return schema
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    if len(choices) != 1:
        raise TypeError(f"a union has no structural schema: {schema}")
    return _inlined(choices[0], definitions) | {key: value for key, value in schema.items() if key != "anyOf"}


def _described(schema: Schema, result: Schema) -> Schema:
    return ({"description": schema["description"]} if "description" in schema else {}) | result
