"""What `--set PATH=VALUE` changes of a manifest, as Helm's option of that name does. Pure."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Sequence
from typing import Any

from trainingjob_cli.reading.documents import ManifestError, documents
from trainingjob_cli.reading.scalars import meaning

_ROOTS = ("spec", "metadata")
_PART = re.compile(r"((?:[^.\[\]\\]|\\.)+)((?:\[[0-9]+\])*)(?:\.|$)")
"""A field, with the positions in its list; a dot that belongs to a name is written `\\.`."""
_MOST = 1000
"""Entries that a list may grow to by a position."""

_Step = str | int


def overridden(body: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the manifest `body` with `settings` applied in their order.

    Each is `PATH=VALUE`: the path as messages spell it, where `spec.` may be left out; the value as YAML. `null` removes the field.

    Raises:
        ManifestError: a setting is no PATH=VALUE, or its path does not fit the manifest.
    """
    changed = copy.deepcopy(body)
    for setting in settings:
        path, equals, word = setting.partition("=")
        steps = _steps(path)
        if not equals or not steps:
            raise ManifestError(f"--set {setting}: write PATH=VALUE, such as --set spec.training.epochs=3")
        if steps[0] not in _ROOTS:
            steps = ["spec", *steps]
        _put(changed, steps, _value(word, path), path)
    return changed


def _steps(path: str) -> list[_Step]:
    """The path's fields and positions; empty if it is none."""
    steps: list[_Step] = []
    at = 0
    while at < len(path):
        found = _PART.match(path, at)
        if found is None:
            return []
        steps.append(re.sub(r"\\(.)", r"\1", found[1]))
        steps.extend(int(position) for position in re.findall(r"[0-9]+", found[2]))
        at = found.end()
    return [] if path.endswith(".") else steps


def _value(word: str, path: str) -> Any:
    """The value: a word, or what stands in brackets, braces or quotes; nothing at all is an empty text."""
    if not word or word[0] not in "[{'\"":
        return meaning(word) if word else ""
    return documents(f"- {word}", f"--set {path}")[0][0]


def _put(body: dict[str, Any], steps: list[_Step], value: Any, path: str) -> None:
    holder: Any = body
    for step, following in itertools.pairwise(steps):
        inner = _at(holder, step, path)
        if inner is None:
            inner = [] if isinstance(following, int) else {}
            _assign(holder, step, inner, path)
        holder = inner
    _at(holder, steps[-1], path)
    if value is None:
        _remove(holder, steps[-1])
    else:
        _assign(holder, steps[-1], value, path)


def _at(holder: Any, step: _Step, path: str) -> Any:
    """What `holder` has at `step`, or None; refuses a path that leads into something else."""
    if isinstance(step, int) and isinstance(holder, list):
        return holder[step] if step < len(holder) else None
    if isinstance(step, str) and isinstance(holder, dict):
        return holder.get(step)
    wanted = f"position {step}" if isinstance(step, int) else f"field {step}"
    found = "a list" if isinstance(holder, list) else "a map" if isinstance(holder, dict) else "a single value"
    raise ManifestError(f"--set {path}: there is no {wanted} in {found}; correct the path")


def _assign(holder: Any, step: _Step, value: Any, path: str) -> None:
    if isinstance(step, int):
        if step >= _MOST:
            raise ManifestError(f"--set {path}: position {step} is too large; at most {_MOST - 1}")
        holder.extend([None] * (step + 1 - len(holder)))
    holder[step] = value


def _remove(holder: Any, step: _Step) -> None:
    if isinstance(step, int):
        del holder[step : step + 1]
    else:
        holder.pop(step, None)
