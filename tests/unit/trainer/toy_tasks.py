"""Small tasks for the tests of the training process."""

from __future__ import annotations

import time
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation, Evaluation
from trainingjob_trainer.learning.loss import cross_entropy_sum
from trainingjob_trainer.task import Task, TaskParameters

COLUMNS, CLASSES = 6, 3


class Slow(nn.Module):
    """Passes its input on, after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and self.seconds:
            time.sleep(self.seconds)
        return inputs


class Toy(Task):
    """A classifier on random data, with what makes resuming hard: dropout, batch normalisation, an unused weight."""

    class Parameters(TaskParameters):
        samples: int = Field(default=60, ge=0)
        held_out: int = 20
        dropout: float = 0.0
        normalise: bool = False
        slow: float = 0.0
        width: int = 16
        poison: int = -1
        """The sample whose loss is not finite."""
        weightless: int = -1
        """The sample with which the weight is not a number."""

    parameters: Parameters

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        generator = torch.Generator().manual_seed(seed)
        count, held_out = self.parameters.samples, self.parameters.held_out
        inputs = torch.randn(count + 2 * held_out, COLUMNS, generator=generator)
        targets = (inputs[:, :CLASSES] + 0.3 * torch.randn(len(inputs), CLASSES, generator=generator)).argmax(dim=1)
        rows = Rows(inputs=inputs, targets=targets, ids=torch.arange(len(inputs)))
        cuts = [range(count), range(count, count + held_out), range(count + held_out, count + 2 * held_out)]
        return Splits(*(rows.select(torch.tensor(list(cut), dtype=torch.int64)) for cut in cuts))

    def model(self) -> nn.Module:
        parameters = self.parameters
        layers: list[nn.Module] = [nn.Linear(COLUMNS, parameters.width)]
        if parameters.normalise:
            layers.append(nn.BatchNorm1d(parameters.width))
        layers += [nn.ReLU(), nn.Dropout(parameters.dropout), Slow(parameters.slow), nn.Linear(parameters.width, CLASSES)]
        model = nn.Sequential(*layers)
        model.register_parameter("unused", nn.Parameter(torch.ones(5)))
        model.register_buffer("constant", torch.full((4,), 0.1))
        return model

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | float]:
        loss, weight = cross_entropy_sum(model(batch["inputs"]), batch["targets"])
        if self.parameters.poison in batch["ids"].tolist():
            loss = loss * float("nan")
        if self.parameters.weightless in batch["ids"].tolist():
            weight = torch.tensor(float("nan"))
        return loss, weight

    def evaluation(self) -> Evaluation:
        return ClassificationEvaluation(CLASSES, cross_entropy_sum)


class Opaque(Toy):
    """With a parameter that is no JSON."""

    class Parameters(Toy.Parameters):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        what: object = Field(default_factory=object)


class MovesWherePoisoned(Toy):
    """The batch whose loss is not finite adds to a parameter, as a teacher would be moved, and no other batch does."""

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | float]:
        if self.parameters.poison in batch["ids"].tolist():
            model.get_parameter("unused").data.add_(1)
        return super().loss(model, batch)
