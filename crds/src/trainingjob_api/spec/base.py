"""What every model of the spec shares: its configuration, its bounded types, and how it refuses a value. Pure.

It knows no field of the API. Every text, list and map of the spec is bounded, so that the object's size and the cost of the
API server's checks are; every number is strict, since the API server does not take "3" for 3 either.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, Strict, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from trainingjob_api.spec.patterns import (
    DATA_KEY_PATTERN,
    FORMS,
    KEY_PATTERN,
    LABEL_PATTERN,
    QUANTITY_PATTERN,
    SUBDOMAIN_PATTERN,
    VALUE_PATTERN,
)

MAX_QUANTITY = 32
MAX_SECONDS = 10 * 365 * 86400
"""The longest time that any field takes: ten years."""

Whole = Annotated[int, Strict()]
"""A whole number, not a text that looks like one."""
Number = Annotated[float, Strict()]
"""A finite number."""
Flag = Annotated[bool, Strict()]
"""true or false."""
Seconds = Annotated[int, Strict(), Field(ge=1, le=MAX_SECONDS)]
"""A length of time."""
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_PATTERN)]
"""A DNS label: lower case letters, digits and dashes."""
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=SUBDOMAIN_PATTERN)]
"""The name of a Kubernetes object in the job's namespace."""
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=KEY_PATTERN)]
"""The key of a label, a resource or a taint."""
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=VALUE_PATTERN)]
"""The value of a label."""
DataKey = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DATA_KEY_PATTERN)]
"""A key of a ConfigMap or a Secret."""
Labels = Annotated[dict[KeyName, LabelValue], Field(max_length=64)]
"""Labels, or a selector over labels."""


def _quantity(value: Any) -> int | str:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    if whole or (isinstance(value, str) and len(value) <= MAX_QUANTITY and re.fullmatch(QUANTITY_PATTERN[1:-1], value)):
        return value  # type: ignore[no-any-return]
    raise refuse("", f"{value!r} is no amount; write {FORMS[QUANTITY_PATTERN]}")


Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": MAX_QUANTITY, "minimum": 0}),
]
"""An amount of a resource: a whole number, or a text such as 500m or 4Gi."""

RULES = "x-kubernetes-validations"
"""The key under which a model carries its CEL rules."""


class SpecModel(BaseModel):
    """Base of every object in the spec: camelCase in the manifest, unknown fields refused, immutable once read."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


def cel(field: str, rule: str, message: str) -> dict[str, str]:
    """One rule that the API server checks by itself; the models check the same in Python, with the values in the message."""
    return {"rule": rule, "message": message, "fieldPath": f".{field}"} if field else {"rule": rule, "message": message}


def rules(*checks: dict[str, str]) -> ConfigDict:
    """The configuration of a model with these CEL rules; it adds to the base's."""
    extra: dict[str, Any] = {RULES: list(checks)}
    return ConfigDict(json_schema_extra=extra)


def refuse(field: str, reason: str) -> PydanticCustomError:
    """The error for a value that does not fit beside the others.

    Args:
        field: the field to name, as the manifest spells it, below the model that checks; "" names the model itself.
        reason: what is wrong, and how to mend it.
    """
    return PydanticCustomError("refused", "{reason}", {"field": field, "reason": reason})


def one_of(model: SpecModel, *names: str) -> None:
    """Refuse a model that does not have exactly one of the fields `names` (as the manifest spells them)."""
    aliases = {field.alias: name for name, field in type(model).model_fields.items()}
    given = [name for name in names if getattr(model, aliases[name]) is not None]
    choices = ", ".join(names[:-1]) + " and " + names[-1]
    if not given:
        raise refuse("", f"none of {choices} is given; add one of them")
    if len(given) > 1:
        raise refuse("", f"{' and '.join(given)} are given together; keep one of them")
