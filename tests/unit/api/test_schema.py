"""Every line of the list of conversions from a model's JSON schema to a structural schema."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from trainingjob_api.crd.schema import structural
from trainingjob_api.spec.base import Quantity, cel, rules


def converted(annotation, default=..., **options):
    """The structural schema of a field of this type."""
    model = create_model("Model", field=(annotation, default))
    return structural(model, **options)["properties"]["field"]


class Inner(BaseModel):
    """An inner object."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    number: int = 3
    """A number."""
    text: str | None = None


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


def test_a_definition_is_put_in_the_place_of_its_reference():
    schema = converted(Inner)

    assert schema["properties"]["number"] == {"type": "integer", "default": 3, "description": "A number."}
    assert "$ref" not in str(schema)


def test_a_definition_inside_a_list_and_a_map_is_put_in_place_too():
    assert converted(list[Inner])["items"]["type"] == "object"
    assert converted(dict[str, Inner])["additionalProperties"]["type"] == "object"


def test_optional_becomes_the_type_without_a_default():
    assert converted(int | None, None) == {"type": "integer"}
    assert converted(Inner | None, None)["type"] == "object"
    assert "default" not in converted(Inner | None, None)


def test_null_is_allowed_only_where_it_is_said_to_have_a_meaning():
    assert converted(Annotated[float | None, Field(json_schema_extra={"nullable": True})], None) == {"type": "number", "nullable": True}


def test_an_exclusive_bound_becomes_a_bound_and_a_flag():
    assert converted(Annotated[float, Field(gt=0, lt=1)]) == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1,
        "exclusiveMaximum": True,
    }


def test_a_constant_becomes_an_enum_of_one():
    assert converted(Literal["DDP"]) == {"type": "string", "enum": ["DDP"]}


def test_an_enumeration_keeps_its_values():
    assert converted(Colour)["enum"] == ["Red", "Blue"]
    assert converted(Literal["a", "b"]) == {"type": "string", "enum": ["a", "b"]}


def test_forbidden_extra_fields_are_dropped_beside_properties():
    assert "additionalProperties" not in converted(Inner)


def test_a_set_becomes_a_list_of_type_set():
    assert converted(set[str]) == {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}


def test_a_tuple_of_fixed_places_is_refused():
    with pytest.raises(TypeError, match="tuple"):
        converted(tuple[int, str])


def test_a_union_is_refused():
    with pytest.raises(TypeError, match="union"):
        converted(int | str)


def test_a_quantity_becomes_int_or_string():
    schema = converted(Quantity)

    assert schema["x-kubernetes-int-or-string"] is True
    assert schema["minimum"] == 0, "the pattern is for texts only"
    assert "type" not in schema


def test_a_descriptions_lines_are_one_since_kubectl_breaks_them_again():
    described = converted(Annotated[int, Field(description="Training waits\nin memory.\n    Default: 3.")])

    assert described["description"] == "Training waits in memory. Default: 3."


def test_titles_are_dropped():
    assert "title" not in str(structural(Inner))


def test_a_default_of_a_factory_is_given_whole():
    assert converted(Inner, Field(default_factory=Inner))["default"] == {"number": 3}
    assert converted(list[int], Field(default_factory=list))["default"] == []
    assert converted(dict[str, int], Field(default_factory=dict))["default"] == {}


def test_a_status_has_no_defaults():
    assert "default" not in str(converted(Inner, Field(default_factory=Inner), defaults=False))


def test_a_value_of_any_kind_is_kept_as_it_is():
    anything = Annotated[int | str, WithJsonSchema({})]

    assert converted(dict[str, anything])["additionalProperties"] == {"x-kubernetes-preserve-unknown-fields": True}


def test_the_form_of_a_maps_keys_is_left_to_the_models():
    assert converted(dict[Annotated[str, Field(pattern="^a$")], int]) == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert converted(dict[Annotated[str, Field(max_length=3)], int]) == {"type": "object", "additionalProperties": {"type": "integer"}}


def test_a_time_is_a_bounded_text():
    assert converted(datetime) == {"type": "string", "format": "date-time", "maxLength": 40}


def test_bounds_go_through():
    assert converted(Annotated[list[int], Field(min_length=1, max_length=4)]) == {
        "type": "array",
        "minItems": 1,
        "maxItems": 4,
        "items": {"type": "integer"},
    }
    assert converted(Annotated[dict[str, int], Field(max_length=4)])["maxProperties"] == 4
    assert converted(Annotated[str, Field(min_length=1, max_length=4, pattern="^a$")]) == {
        "type": "string",
        "minLength": 1,
        "maxLength": 4,
        "pattern": "^a$",
    }


def test_rules_and_docstrings_go_through():
    class Ruled(BaseModel):
        """What it is."""

        model_config = rules(cel("a", "self.a > 0", "must be positive"))
        a: int

    assert structural(Ruled) == {
        "type": "object",
        "description": "What it is.",
        "required": ["a"],
        "properties": {"a": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.a > 0", "message": "must be positive", "fieldPath": ".a"}],
    }
