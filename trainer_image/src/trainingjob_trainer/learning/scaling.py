"""Scaling of inputs and outputs as layers of the model, so that an exported model takes and gives the data's own units. Pure.

The statistics are the training split's alone, are buffers (they travel with checkpoints and exports), and are never
learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation, both float32 and of the same shape."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of_columns(cls, rows: Tensor) -> Moments:
        """Per column of (samples, columns). A constant column gets the deviation 1."""
        return cls._of(rows, axis=0)

    @classmethod
    def of_all(cls, values: Tensor) -> Moments:
        """Over all values at once: for images, whose pixels have one scale."""
        return cls._of(values, axis=None)

    @classmethod
    def _of(cls, values: Tensor, axis: int | None) -> Moments:
        # numpy adds on one thread: the number of threads must not show in the bits of a buffer. In parts, since the
        # values of a whole data set of bytes would be eight times as large as float64.
        array = values.cpu().numpy()
        parts = [array[start : start + _ROWS_AT_ONCE] for start in range(0, len(array), _ROWS_AT_ONCE)]
        count = array.size if axis is None else len(array)
        mean = sum(part.sum(axis=axis, dtype=np.float64) for part in parts) / count
        variance = sum(np.square(part - mean).sum(axis=axis) for part in parts) / count
        deviation = np.sqrt(variance)
        # Below float32's precision it is the rounding of the mean, and dividing by it would blow that up.
        deviation = np.where(deviation > 1e-7 * np.abs(mean), deviation, 1.0)
        return cls(torch.as_tensor(mean, dtype=torch.float32), torch.as_tensor(deviation, dtype=torch.float32))


class _Scaling(nn.Module):
    """Holds the moments. Without any (a model that is about to be loaded) it refuses to compute until a state is loaded."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, moments: Moments | None, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.ready = moments is not None
        known = moments or Moments(torch.zeros(shape), torch.ones(shape))
        self.register_buffer("mean", known.mean.clone())
        self.register_buffer("deviation", known.deviation.clone())

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(*arguments, **named)
        self.ready = True

    def _require(self) -> None:
        if not self.ready:
            raise RuntimeError(f"{type(self).__name__} has no statistics yet: call Task.splits() before Task.model(), or load a state")


class Standardise(_Scaling):
    """(x - mean) / deviation. Integers, as in images of bytes, become floats."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Any shape that `mean` broadcasts to."""
        self._require()
        return (inputs.to(self.mean.dtype) - self.mean) / self.deviation


class Rescale(_Scaling):
    """x * deviation + mean: turns a network's outputs into the target's own units."""

    def forward(self, outputs: Tensor) -> Tensor:
        """Any shape that `mean` broadcasts to."""
        self._require()
        return outputs * self.deviation + self.mean
