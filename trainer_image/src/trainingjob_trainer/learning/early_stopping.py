"""When to stop because validation no longer improves. Pure: the state is a value, and goes into the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from trainingjob_api.spec.training import EarlyStopping as EarlyStoppingSpec


@dataclass(frozen=True)
class EarlyStopping:
    """What must be remembered between evaluations."""

    best: float | None = None
    """The best value so far; None before the first finite one."""
    bad_epochs: int = 0
    """Evaluations since then that did not improve on it."""

    def observe(self, metrics: Mapping[str, float], spec: EarlyStoppingSpec) -> tuple[Self, bool]:
        """Take one evaluation in.

        An improvement is a change for the better by at least minimumDelta. A value that is not finite is never one.

        Returns:
            The next state, and whether `patience` evaluations in a row brought no improvement.

        Raises:
            ValueError: when the evaluation has no such metric.
        """
        if spec.metric not in metrics:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise ValueError(f"spec.training.earlyStopping.metric: the task does not measure {spec.metric!r}; it measures {known}")
        value = metrics[spec.metric]
        if math.isfinite(value) and self._improves(value, spec):
            return type(self)(best=value, bad_epochs=0), False
        bad = self.bad_epochs + 1
        return type(self)(best=self.best, bad_epochs=bad), bad >= spec.patience

    def _improves(self, value: float, spec: EarlyStoppingSpec) -> bool:
        if self.best is None:
            return True
        gain = value - self.best if spec.mode == "Maximise" else self.best - value
        return gain > 0 and gain >= spec.minimum_delta

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values for the checkpoint's manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, float | int | None]) -> Self:
        """What to_json gave; an empty mapping is the beginning."""
        best = value.get("best")
        return cls(best=None if best is None else float(best), bad_epochs=int(value.get("bad_epochs") or 0))
