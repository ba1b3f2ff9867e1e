"""What nobody may be made to keep or to show, whoever sent it: numbers without end, texts that steer a terminal. Pure, standard library.

JSON knows no largest number, Python neither; an API server, a float and a column do.
"""

from __future__ import annotations

import json
import re

LONGEST_NUMBER = 15
"""Characters of a whole number: it fits into 64 bits and, exactly, into a float."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Control characters, line ends, changes of direction, and halves of characters."""


def plain(text: str) -> str:
    """The text in one line, without what would move a cursor, turn the direction of writing, or not be UTF-8."""
    return _UNSEEN.sub(" ", text)


def check_numbers(text: str | bytes) -> None:
    """Look at every number in `text`, those of unknown fields too. Only for what has been parsed with a limit to its depth.

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
