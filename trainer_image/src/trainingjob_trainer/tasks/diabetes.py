"""Progression of diabetes after a year: 442 patients, ten measurements, one number to predict.

The data is part of scikit-learn; nothing else is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.loss import LossSum, mean_squared_error_sum
from trainingjob_trainer.learning.scaling import Moments, Rescale, Standardise
from trainingjob_trainer.task import Regression, TaskParameters
from trainingjob_trainer.tasks.bundled import bundled_table

COLUMNS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


class Diabetes(Regression):
    """A small network, or with `hidden: 0` a linear model. Metrics are in the target's units, the loss in its variance."""

    class Parameters(TaskParameters):
        """What a manifest may set."""

        hidden: int = Field(default=32, ge=0, le=65536)
        """Width of the hidden layer; 0: a linear model."""

    parameters: Parameters
    outputs = ("progression",)
    _inputs: Moments | None = None
    _targets: Moments | None = None

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        """Inputs of shape (samples, 10) and targets of shape (samples, 1), both in the units of the data."""
        inputs = torch.from_numpy(bundled_table("diabetes_data_raw")).float()
        targets = torch.from_numpy(bundled_table("diabetes_target")).float().unsqueeze(1)
        train, middle, last = Rows(inputs=inputs, targets=targets).split(seed, validation, test)
        self._inputs = Moments.of_columns(train.columns["inputs"])
        self._targets = Moments.of_columns(train.columns["targets"])
        return Splits(train, middle, last)

    def model(self) -> nn.Module:
        """Scaled on the way in and on the way out."""
        hidden, columns = self.parameters.hidden, len(COLUMNS)
        inner: list[nn.Module] = [nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, 1)] if hidden else [nn.Linear(columns, 1)]
        return nn.Sequential(Standardise(self._inputs, (columns,)), *inner, Rescale(self._targets, (1,)))

    def criterion(self, outputs: Tensor, targets: Tensor) -> LossSum:
        """Squared error in units of the training targets' variance: near 1 at first, whatever the target's scale."""
        if self._targets is None:
            raise RuntimeError("Diabetes.splits() comes before its loss: it finds the scale of the targets")
        scale = self._targets.deviation.to(outputs.device)
        return mean_squared_error_sum(outputs / scale, targets / scale)

    def columns(self) -> Sequence[str]:
        """The names of the ten measurements."""
        return COLUMNS
