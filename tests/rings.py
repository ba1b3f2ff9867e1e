"""The rings of tests: where each lies, what it needs, in which lane `make test` runs it, and how long it may take there.

A lane is a process of its own, which pytest-xdist starts under the lane's name. Rings that mostly wait for a cluster are in another lane
than rings that mostly compute, so that two processors are busy to the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ring:
    """One folder of tests."""

    folder: str
    lane: str
    minutes: float
    """Its budget on two processors, beside the other lanes."""
    needs: str = ""
    """The target of the Makefile that must have been made before its first test."""


RINGS = (
    Ring("e2e/cluster", "cluster", 12, "cluster"),
    Ring("e2e/soak", "cluster", 4, "cluster"),
    Ring("e2e/documents", "cluster", 3, "cluster"),
    Ring("unit", "rules", 8),
    Ring("simulation", "rules", 2),
    Ring("e2e/local", "jobs", 6),
    Ring("e2e/s3", "jobs", 3),
    Ring("e2e/network", "jobs", 2),
    Ring("chart", "server", 1, "cluster-tools"),
    Ring("integration", "server", 6, "cluster-tools"),
)
"""In the order in which each lane runs them."""
LANES = tuple(dict.fromkeys(ring.lane for ring in RINGS))
NICE = {"rules": 10}
"""Lanes that compute all the time step back for those that hold programs to their deadlines."""


def lane_of(config: pytest.Config) -> str:
    """The lane that this process is; "" if it runs whatever it was asked to."""
    name: str = getattr(config, "workerinput", {}).get("workerid", "")
    return name if name in LANES else ""


def folders(lane: str) -> list[str]:
    """What a lane runs, below tests/."""
    return [ring.folder for ring in RINGS if ring.lane == lane]


def ring_of(place: str) -> Ring | None:
    """The ring of a test's file or id, from the top of the repository."""
    return next((ring for ring in RINGS if place.startswith(f"tests/{ring.folder}/")), None)


@dataclass
class Spent:
    """What a ring has taken so far."""

    tests: int = 0
    began: float = float("inf")
    ended: float = 0.0

    @property
    def minutes(self) -> float:
        """From the start of the first test to the end of the last one."""
        return (self.ended - self.began) / 60


class Times:
    """A plugin that says what each ring took of its budget."""

    def __init__(self) -> None:
        self.spent: dict[Ring, Spent] = {}
        self._began = time.time()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test, and note when it began and ended."""
        if ring := ring_of(report.nodeid):
            spent = self.spent.setdefault(ring, Spent())
            spent.tests += report.when == "setup"
            spent.began, spent.ended = min(spent.began, report.start), max(spent.ended, report.stop)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, if more than one ring has run."""
        if len(self.spent) > 1:
            terminalreporter.section("rings")
            for line in table(self.spent.items(), self._began):
                terminalreporter.write_line(line)


def table(spent: Iterable[tuple[Ring, Spent]], began: float) -> list[str]:
    """A line for each ring, in the order in which they began."""
    head = f"{'ring':<16}{'lane':<10}{'tests':>6}{'began':>9}{'minutes':>9}{'budget':>8}"
    lines = []
    for ring, own in sorted(spent, key=lambda pair: pair[1].began):
        over = "  over" if own.minutes > ring.minutes else ""
        since = (own.began - began) / 60
        lines.append(f"{ring.folder:<16}{ring.lane:<10}{own.tests:>6}{since:>9.1f}{own.minutes:>9.1f}{ring.minutes:>8.1f}{over}")
    return [head, *lines]
