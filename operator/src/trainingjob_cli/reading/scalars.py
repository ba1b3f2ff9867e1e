"""What an unquoted word of YAML means to kubectl: the rules of its reader (sigs.k8s.io/yaml, YAML 1.1), then JSON's. Pure.

A table of words is held against a real kubectl by tests/integration/test_kubectl_reads.py.
"""

from __future__ import annotations

import math
import re

Scalar = bool | int | float | str | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INTEGERS = (
    (16, re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)", re.ASCII)),
    (8, re.compile(r"([-+]?)0[oO]?([0-7]+)", re.ASCII)),
    (2, re.compile(r"([-+]?)0[bB]([01]+)", re.ASCII)),
    (10, re.compile(r"([-+]?)(0|[1-9][0-9]*)", re.ASCII)),
)
_LEAST, _MOST = -(2**63), 2**63 - 1
"""Whole numbers beyond these are read as floating-point numbers."""
_WRITTEN_OUT = 1e21
"""JSON's writer in Go gives a number below this without an exponent, so that a whole one is an integer to whoever reads it."""


def meaning(word: str) -> Scalar:
    """Return the value of an unquoted word: 1e1, 64.0, 0o12 and 1_0 are whole numbers, yes and off are true and false."""
    if word in _WORDS:
        return _WORDS[word]
    if word[0] in "+-0123456789":
        return _number(word.replace("_", ""), word)
    return _number(word, word) if word[0] == "." else word


def plain(value: float) -> int | float:
    """Return a number as JSON carries it: 64.0 is 64."""
    return int(value) if value.is_integer() and abs(value) < _WRITTEN_OUT else value


def _number(digits: str, word: str) -> int | float | str:
    for base, form in _INTEGERS:
        if found := form.fullmatch(digits):
            whole = int(found[1] + found[2], base)
            if _LEAST <= whole <= _MOST:
                return whole
    value = float(digits) if _DECIMAL.fullmatch(digits) else math.inf
    return plain(value) if math.isfinite(value) else word
