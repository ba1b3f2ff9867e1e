"""Handwritten digits: 1,797 images of 8 by 8 pixels, ten classes. The data is part of scikit-learn; nothing else is read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.scaling import Moments, Standardise
from trainingjob_trainer.task import Classification, TaskParameters
from trainingjob_trainer.tasks.bundled import bundled_table

PIXELS = 64
CLASSES = tuple("0123456789")


class Digits(Classification):
    """A network with one hidden layer; above 0.95 of the test images after some twenty epochs."""

    class Parameters(TaskParameters):
        """What a manifest may set."""

        hidden: int = Field(default=128, ge=1, le=65536)
        """Width of the hidden layer."""
        dropout: float = Field(default=0.1, ge=0, lt=1)
        """Share of the hidden values that is dropped in training; 0: none."""

    parameters: Parameters
    classes = CLASSES
    _moments: Moments | None = None

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        """Stratified: every part holds the digits in equal proportions."""
        table = torch.from_numpy(bundled_table("digits", delimiter=","))
        labels = table[:, PIXELS].long()
        rows = Rows(inputs=table[:, :PIXELS].float(), targets=labels)
        train, middle, last = rows.split(seed, validation, test, labels)
        self._moments = Moments.of_all(train.columns["inputs"])
        return Splits(train, middle, last)

    def model(self) -> nn.Module:
        """Pixels from 0 to 16 in, ten logits out."""
        return nn.Sequential(
            Standardise(self._moments),
            nn.Linear(PIXELS, self.parameters.hidden),
            nn.ReLU(),
            nn.Dropout(self.parameters.dropout),
            nn.Linear(self.parameters.hidden, len(CLASSES)),
        )

    def columns(self) -> Sequence[str]:
        """scikit-learn's names: pixel_0_0 … pixel_7_7, row by row."""
        return [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
