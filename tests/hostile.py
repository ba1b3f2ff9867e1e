"""What somebody might say who means no good: JSON of any kind, and true words with something spoiled in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NUMBERS = [0, -1, 1, 64, 10**14, 10**15 - 1, -(10**13), 10**15, 2**63, 10**30, 10**400]
FRACTIONS = [0.0, -0.0, 0.5, -1.5, 1e15, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")]
TEXTS = [
    "",
    "x",
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "a\nb\tc\r",
    "\u202eevil",
    "\u2028",
    "é" * 700,
    "x" * 5000,
    "%s{}",
    "s3://",
    "true",
    "1",
]


def leaves() -> st.SearchStrategy[Any]:
    """Numbers, texts and nothing, of the kind that hurts."""
    text = st.one_of(st.sampled_from(TEXTS), st.text(max_size=40))
    return st.one_of(st.sampled_from(NUMBERS), st.integers(), st.sampled_from(FRACTIONS), st.floats(), text, st.booleans(), st.none())


def json_values() -> st.SearchStrategy[Any]:
    """JSON, as Python has it."""
    keys = st.one_of(st.sampled_from(["type", "epoch", "step", "members", "log", *TEXTS[:6]]), st.text(max_size=8))
    return st.recursive(leaves(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@st.composite
def spoiled(draw: st.DrawFn, true: Any, most: int = 6) -> Any:
    """`true` with up to `most` of its parts replaced, removed or repeated; mostly so that they pass a first look."""
    found = copy.deepcopy(true)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(found))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["alike"] * 6 + ["replace", "remove", "repeat"])):
            case "replace":
                holder[key] = draw(json_values())
            case "alike":
                holder[key] = draw(st.sampled_from(_alike(holder[key])))
            case "remove":
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder.extend([copy.deepcopy(holder[key])] * draw(st.sampled_from([1, 3, 30])))
    return found


def each_spoiled(true: Any) -> Iterator[Any]:
    """`true` with one of its parts replaced by one that hurts, of the same type: every part, every such value."""
    for number, (holder, key) in enumerate(_places(true)):
        for value in _alike(holder[key]):
            found = copy.deepcopy(true)
            inner, place = list(_places(found))[number]
            inner[place] = value
            yield found


def _places(value: Any) -> list[tuple[Any, Any]]:
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [(value, key) for key, _ in inner] + [place for _, part in inner for place in _places(part)]


def _alike(value: Any) -> list[Any]:
    """What is of the same type, so that it gets past the first look."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return NUMBERS
    if isinstance(value, float):
        return [*FRACTIONS, 10**400]
    if isinstance(value, str):
        return [*TEXTS, "Running", "Over", "Idle", "Gone", "Crash", "UserError", "Storage", "Peer"]
    if isinstance(value, dict):
        return [{}, dict.fromkeys(TEXTS, 0.5), {str(number): 1.0 for number in range(40)}]
    return [[], value * 30] if isinstance(value, list) else [None]
