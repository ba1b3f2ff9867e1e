"""A figure: what was measured of ours and of a peer, in turns, and how the two compare. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """Some values of the same thing, in the figure's unit."""

    n: int
    median: float
    p99: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """The summary of `values`, which must not be empty; the 99th percentile is the nearest rank (of few values: the largest)."""
        ordered = sorted(values)
        rank = math.ceil(0.99 * len(ordered)) - 1
        return cls(len(ordered), statistics.median(ordered), ordered[rank], ordered[0], ordered[-1])


@dataclass(frozen=True)
class Target:
    """What is aimed at: a bound of the ratio of the medians, or of one of our own values."""

    of: str
    """`ratio`, or a field of our own sample: `median`, `p99`, `max`."""
    at_most: float | None = None
    at_least: float | None = None

    def __str__(self) -> str:
        bounds = [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.of} {' and '.join(bounds)}"

    def is_met(self, figure: Figure) -> bool:
        """Whether `figure` is within the bounds. A ratio without a peer is not."""
        value = figure.ratio() if self.of == "ratio" else getattr(figure.ours, self.of)
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True)
class Figure:
    """One line of docs/benchmarks.md."""

    name: str
    """The file's name: NAME of `make bench-NAME`, or NAME-WHAT where a measurement has several figures."""
    figure: str
    """What was measured, for a person."""
    unit: str
    ours: Sample
    peer_name: str | None = None
    peer: Sample | None = None
    targets: tuple[Target, ...] = ()
    """Empty: the figure is reported, and nothing is aimed at."""

    def ratio(self) -> float | None:
        """Ours over the peer's, of the medians; None without a peer, or where the peer's is 0."""
        return None if self.peer is None or not self.peer.median else self.ours.median / self.peer.median

    def to_object(self, load_average: float) -> dict[str, Any]:
        """The figure as JSON has it."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "ours": asdict(self.ours),
            "peer": None if self.peer is None else {"name": self.peer_name, **asdict(self.peer)},
            "ratio": self.ratio(),
            "target": " and ".join(map(str, self.targets)) or None,
            "met": all(target.is_met(self) for target in self.targets) if self.targets else None,
            "load_average": load_average,
        }
