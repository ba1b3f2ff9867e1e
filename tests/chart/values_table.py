"""The README's table of values, made from values.yaml and its comments.

`make generate` writes it anew; `make verify` and a test check that it is current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).parents[2] / "helm" / "trainingjob-operator"
WHOLE = ("resources", "affinity")
"""Kubernetes' own objects: documented as a whole."""
_HEADER = "| value | default | meaning |\n|---|---|---|\n"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w./-]+):")


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all values that the schema knows, but Helm's own."""
    for name, child in schema["properties"].items():
        if name == "global":
            continue
        if "properties" in child and name not in WHOLE:
            yield from leaves(child, (*path, name))
        else:
            yield (*path, name)


def comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment right above each key of values.yaml, by the key's path."""
    found: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.lstrip(" #"))
            continue
        if key := _KEY.match(line):
            path[len(key["indent"]) // 2 :] = [key["key"]]
            found[tuple(path)] = " ".join(above)
        above = []
    return found


def table() -> str:
    """The table, in Markdown."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values, said = YAML(typ="safe").load(text), comments(text)
    paths = leaves(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))
    return _HEADER + "".join(f"| `{'.'.join(path)}` | `{json.dumps(at(values, path))}` | {said[path]} |\n" for path in paths)


def at(values: Any, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    for name in path:
        values = values[name]
    return values


def main() -> int:
    """Write the table into the README, in place of the one there."""
    readme = CHART / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_HEADER)
    after = "\n".join(rest.splitlines()[rest.splitlines().index("") :])
    readme.write_text(before + table() + after + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
