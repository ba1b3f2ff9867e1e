"""What nobody may be made to keep or to show, whoever sent it: numbers without end, texts that steer a terminal. Pure, standard library.

JSON knows no largest number, Python neither; an API server, a float and a column do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

LONGEST_PLACE = 80
"""Characters of a field's name in a message: whoever sent it may have made it up."""
LONGEST_NUMBER = 15
"""Characters of a whole number: it fits into 64 bits and, exactly, into a float."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Control characters, line ends, changes of direction, and halves of characters."""


def plain(text: str) -> str:
    """The text in one line, without what would move a cursor, turn the direction of writing, or not be UTF-8."""
    return _UNSEEN.sub(" ", text)


def parsed(parse: Callable[[str | bytes], T], text: str | bytes) -> T:
    """What `parse` makes of `text`, if its numbers are such as can be kept. `parse` comes first: it refuses what is nested without end.

    Raises:
        ValueError: as `parse` says, or as `check_numbers`.
    """
    found = parse(text)
    check_numbers(text)
    return found


def place(parts: Iterable[object]) -> str:
    """The way to a field, for a message."""
    return plain(".".join(map(str, parts))[:LONGEST_PLACE])


def check_numbers(text: str | bytes) -> None:
    """Look at every number in `text`, those of unknown fields too. Only for what has been parsed with a limit to its depth: see `parsed`.

    Raises:
        ValueError: one is too long, or none at all (NaN, Infinity); the message does not quote it.
    """
    json.loads(text, parse_int=_whole, parse_float=_fraction, parse_constant=_nonsense)


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number that is not finite")
    return number


def _nonsense(_: str) -> float:
    raise ValueError("a number that is not finite")
