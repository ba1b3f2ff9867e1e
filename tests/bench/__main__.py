"""`python -m bench NAME ...`: measure, print, write build/bench/NAME.json. `python -m bench table`: fill the table of docs/benchmarks.md.

A measurement is the module `bench.NAME` (with _ for -), or a package of that name, and its `measure() -> list[Figure]`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.page import PAGE, rewritten

NAMES = (
    "first-step",
    "throughput",
    "shrink",
    "link-cut",
    "stall",
    "store-frozen",
    "operator",
    "operator-limit",
    "operator-writes",
    "operator-latency",
    "operator-streams",
)
FOLDER = Path("build/bench")


def _measure(name: str) -> None:
    print(f"{name}: measuring ...", flush=True)
    measure = importlib.import_module(f"bench.{name.replace('-', '_')}").measure
    found: list[Figure] = measure()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for figure in found:
        told = figure.to_object(round(os.getloadavg()[0], 2))
        (FOLDER / f"{figure.name}.json").write_text(json.dumps(told, indent=2) + "\n")
        print(_line(figure.name, told), flush=True)


def _line(name: str, told: dict[str, Any]) -> str:
    ours, peer = told["ours"], told["peer"]
    words = f"{name}: {told['figure']}: {ours['median']:.4g} {told['unit']} (n {ours['n']}, {ours['min']:.4g}-{ours['max']:.4g})"
    if peer:
        words += f"; {peer['name']}: {peer['median']:.4g} (n {peer['n']}, {peer['min']:.4g}-{peer['max']:.4g})"
        words += f"; ratio {told['ratio']:.3g}" if told["ratio"] is not None else ""
    if told["target"]:
        words += f"; target {told['target']}: {'met' if told['met'] else 'MISSED'}"
    return words


def _table() -> None:
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    PAGE.write_text(rewritten(PAGE.read_text(), found))


def main(words: list[str]) -> int:
    """The process; returns its exit code."""
    if words == ["table"]:
        _table()
        return 0
    unknown = [word for word in words if word not in NAMES]
    if unknown:
        print(f"there is no measurement {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 64
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of what ends the measured processes
    for name in words or NAMES:
        _measure(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
