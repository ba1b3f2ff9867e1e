"""Manifests that hypothesis makes from the schema: a valid one of the table, of which parts are made anew, rightly or not. Pure."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from hypothesis import strategies as st

from integration.api.places import OTHERS, children
from trainingjob_api.crd.definition import schema
from unit.api.manifests import INVALID, VALID

SPEC = schema()["properties"]["spec"]
LATER = [case for case in INVALID if not case.server and case.id not in ("infinite-parameter", "nested-infinite-parameter", "rate-nan")]
"""What the API server takes, and the operator does not; three of the table are no JSON."""
BASES = [case.body() for case in (*VALID, *OTHERS, *LATER)]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LONG = st.sampled_from(["x" * 300, "ж" * 300, "spec.", "a\nb", "\x00", "{{x}}", "$(A)", "-1", "1e-3", "null", "日本/データ"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS | LONG
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2), max_leaves=4)
NAMES = st.sampled_from(["digits", "a" * 63, "a" * 64, "a.b", "a-", "1a", "Digits", "цифры", "数字", "a" + "-" * 61 + "b", ""])
LABELS = st.dictionaries(st.sampled_from(["team", "example.com/cost", "é", "a/b/c"]), st.sampled_from(["a", "", "ü", "x" * 64]), max_size=1)


@cache
def strings(pattern: str | None, longest: int) -> st.SearchStrategy[str]:
    """Texts of a pattern, and now and then one that is only like them."""
    found = st.from_regex(pattern) if pattern else WORDS
    return found.map(lambda text: text[:longest])


def values(found: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema takes, as far as types, bounds and patterns say."""
    if "enum" in found:
        return st.sampled_from(found["enum"])
    if found.get("x-kubernetes-int-or-string"):
        return st.integers(0, 9) | strings(found.get("pattern"), 20)
    match found.get("type"):
        case "integer":
            return st.integers(found.get("minimum", -9), min(found.get("maximum", 99), found.get("minimum", 0) + 5))
        case "number":
            return st.floats(found.get("minimum", -1), found.get("maximum", 1e6), allow_nan=False)
        case "boolean":
            return st.booleans()
        case "string":
            return strings(found.get("pattern"), found.get("maxLength", 40))
        case "array":
            return st.lists(st.deferred(lambda: values(found["items"])), min_size=found.get("minItems", 0), max_size=2)
        case "object" if "properties" in found:
            return objects(found)
        case "object" if "additionalProperties" in found:
            return st.dictionaries(st.sampled_from(["a", "cpu", "memory", "é"]), values(found["additionalProperties"]), max_size=2)
    return JUNK


def objects(found: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with what it needs, and at most three of its other fields."""
    needed = {name: child for name, child in found["properties"].items() if name in found.get("required", ())}
    others = sorted(found["properties"].keys() - needed.keys())

    def of(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        chosen = needed | {name: found["properties"][name] for name in names}
        return st.fixed_dictionaries({name: st.deferred(lambda child=child: values(child)) for name, child in chosen.items()})

    return st.lists(st.sampled_from(others), unique=True, max_size=3).flatmap(of) if others else of([])


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """A manifest with one to three parts made anew."""
    body = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        _graft(draw, body)
    body["metadata"]["name"] = draw(st.just("digits") | NAMES)
    if draw(st.integers(0, 9)) == 0:
        body["metadata"]["labels"] = draw(LABELS)
    return body


def _graft(draw: st.DrawFn, body: dict[str, Any]) -> None:
    """Walk down the schema to some part, making what is not there on the way; there put in what fits, or what does not."""
    holder: Any = body
    key: Any = "spec"
    found = SPEC
    while True:
        inner, here = children(found), holder[key]
        fits = inner and isinstance(here, list if found.get("type") == "array" else dict)
        if not fits or (key != "spec" and draw(st.integers(0, 3)) == 0):
            break
        if "" in inner:
            entries = range(len(here)) if isinstance(here, list) else sorted(here)
            if not entries:
                break
            holder, key, found = here, draw(st.sampled_from(entries)), inner[""]
            continue
        name = draw(st.sampled_from(sorted(inner)))
        if name not in here:
            here[name] = draw(values(inner[name]))
        holder, key, found = here, name, inner[name]
    match draw(st.integers(0, 5)):
        case 0:
            holder[key] = draw(JUNK)
        case 1 if isinstance(holder[key], dict):
            holder[key][draw(WORDS)] = draw(JUNK)
        case 2 if isinstance(holder, dict) and key != "spec":
            del holder[key]
        case _:
            holder[key] = draw(values(found))
