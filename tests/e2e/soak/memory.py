"""Does a process' memory stay flat? Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FLAT_MIB = 1.0
FLAT_SHARE = 0.02
"""A process' memory is flat if it grows by less than one of these over the second half of the time."""


@dataclass(frozen=True)
class Course:
    """How a process' memory went over the second half of the time, when all that is made once has been made."""

    first_mib: float
    last_mib: float
    """Ends of the straight line through the samples."""
    mib_per_minute: float
    """Its slope."""

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]]) -> Course:
        """From (seconds, MiB), of which the second half counts; at least four."""
        late = samples[len(samples) // 2 :]
        slope, at_zero = statistics.linear_regression([second for second, _ in late], [mib for _, mib in late])
        return cls(at_zero + slope * late[0][0], at_zero + slope * late[-1][0], 60 * slope)

    def is_flat(self) -> bool:
        """It has not grown by more than chance."""
        return self.last_mib - self.first_mib < max(FLAT_MIB, FLAT_SHARE * self.first_mib)

    def to_object(self) -> dict[str, Any]:
        """As the record of a soak has it."""
        return {name: round(value, 4) for name, value in asdict(self).items()}
