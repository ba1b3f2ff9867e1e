"""How long to wait before the next try of what has failed. Pure: chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass

_DOUBLINGS = 30
"""More of them make no number larger that anybody waits for, and a float has an end."""


@dataclass(frozen=True)
class Backoff:
    """Waiting that doubles with every failure in a row, spread so that those who failed together do not try again together."""

    first: float
    """Seconds after the first failure, before they are spread."""
    longest: float
    """Seconds that no doubling exceeds, before they are spread."""
    low: float = 0.5
    high: float = 1.5
    """The wait is spread evenly between these multiples of it."""

    def base(self, failures: int) -> float:
        """Return the seconds after the `failures`-th failure in a row (from 1), without the spread."""
        return min(self.longest, self.first * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))

    def seconds(self, failures: int, chance: float) -> float:
        """Return the seconds after the `failures`-th failure in a row (from 1). `chance` is in [0, 1)."""
        return self.base(failures) * (self.low + (self.high - self.low) * chance)
