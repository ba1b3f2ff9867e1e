"""The table of docs/benchmarks.md: a row for each figure that was measured, the others stay as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path("docs/benchmarks.md")
HEAD = "| figure | ours | peer | ratio | target | load |"
RULE = "|---|---|---|---|---|---|"


def rewritten(page: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """`page` with the rows of `figures` (name -> figure as JSON) put in the place of older ones, in the order of names.

    Raises:
        ValueError: the page has no table with this head.
    """
    before, found, after = page.partition(f"{HEAD}\n{RULE}\n")
    if not found:
        raise ValueError(f"{PAGE} has no table that begins with {HEAD}")
    lines = after.splitlines()
    count = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = {line.split("`")[1]: line for line in lines[:count]} | {name: row(name, told) for name, told in figures.items()}
    return before + found + "\n".join([*(rows[name] for name in sorted(rows)), *lines[count:]]) + "\n"


def row(name: str, told: Mapping[str, Any]) -> str:
    """One figure."""
    peer = told["peer"]
    beside = f"{peer['name']}: {_sample(peer)}" if peer else "–"
    ratio = f"{told['ratio']:.3g}" if told["ratio"] is not None else "–"
    target = f"{told['target']}: {'met' if told['met'] else '**missed**'}" if told["target"] else "reported"
    cells = (f"`{name}` {told['figure']}, {told['unit']}", _sample(told["ours"]), beside, ratio, target, f"{told['load_average']:g}")
    return f"| {' | '.join(cells)} |"


def _sample(sample: Mapping[str, Any]) -> str:
    return f"**{sample['median']:.4g}** ({sample['min']:.4g} – {sample['max']:.4g}, n {sample['n']})"
