"""What every benchmark writes: one figure of ours beside a peer's, with median and spread."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).parents[2] / "build" / "bench"


def spread(values: Sequence[float]) -> dict[str, float]:
    """n, median, 99th percentile, minimum and maximum."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "min": ordered[0],
        "max": ordered[-1],
    }


def write(name: str, figure: str, unit: str, ours: Sequence[float], peer: tuple[str, Sequence[float]], target: str) -> dict[str, Any]:
    """Write build/bench/<name>.json, and show it."""
    found = {
        "figure": figure,
        "unit": unit,
        "ours": spread(ours),
        "peer": {"name": peer[0], **spread(peer[1])},
        "ratio": median(ours) / median(peer[1]),
        "target": target,
        "load_average": os.getloadavg()[0],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return found
