"""The Task that trains a specimen, and dies when it is told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainingjob_trainer.data import Batch, Rows, Splits
from trainingjob_trainer.learning.buffers import Policy
from trainingjob_trainer.learning.evaluation import Evaluation
from trainingjob_trainer.task import Task, TaskParameters
from unit.conformity.specimen import CLASSES, FEATURES, LENGTH, WORDS
from unit.conformity.zoo import ZOO

SAMPLES = 44


class Nothing(Evaluation):
    length = 1

    def update(self, model: nn.Module, batch: Batch) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    def result(self, statistics: Tensor) -> dict[str, float]:
        return {}


class Zoo(Task):
    class Parameters(TaskParameters):
        name: str
        marker: str = ""
        """The first process that comes to its loss number `kill_at` makes this file and dies."""
        kill_at: int = 0

    parameters: Parameters
    _calls = 0

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        random = torch.Generator().manual_seed(seed)
        inputs = torch.randn(SAMPLES, FEATURES, generator=random)
        tokens = torch.randint(WORDS, (SAMPLES, LENGTH), generator=random)
        rows = Rows(inputs=inputs, targets=inputs[:, :CLASSES].argmax(dim=1), tokens=tokens, ids=torch.arange(SAMPLES))
        none = rows.select(torch.zeros(0, dtype=torch.int64))
        return Splits(rows, none, none)

    def model(self) -> nn.Module:
        return ZOO[self.parameters.name].model()

    def buffers(self) -> Mapping[str, Policy]:
        return ZOO[self.parameters.name].policies

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        self._calls += 1
        if self._calls == self.parameters.kill_at:
            self._die()
        return ZOO[self.parameters.name].loss(model, batch)

    def evaluation(self) -> Evaluation:
        return Nothing()

    def _die(self) -> None:
        try:
            os.close(os.open(self.parameters.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
