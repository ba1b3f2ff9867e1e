"""A model of one million weights: 12 MB of state with AdamW. The data is made up; only time is measured."""

from __future__ import annotations

import torch
from torch import nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.task import Regression

WIDTH = 700


def build() -> nn.Module:
    """The model, for our task and for the peer's script."""
    return nn.Sequential(
        nn.Linear(16, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
    )


def data(rows: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 16, generator=generator)
    return inputs, inputs.sum(1, keepdim=True)


class Wide(Regression):
    """The model as a task."""

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        rows = Rows(*data())
        return Splits(rows, Rows(*data(8)), Rows(*data(8)))

    def model(self) -> nn.Module:
        return build()
