"""Metrics over all workers from statistics that add up. Pure.

Each worker sums the statistics of its own samples; the loop adds those vectors over all workers, and `result` turns the
total into metrics. So no sample is counted twice, an uneven share needs no padding, and the metrics do not depend on how many
workers there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.loss import LossSum

Criterion = Callable[[Tensor, Tensor], LossSum]
"""(outputs, targets) -> (loss sum, weight)."""


class Evaluation(ABC):
    """How a task is judged on validation and test data."""

    length: int
    """Of the vector of statistics."""

    @abstractmethod
    def update(self, model: nn.Module, batch: Batch) -> Tensor:
        """The statistics of a batch: float64, shape (length,). The statistics of two batches together are their sum.

        The model is in evaluation mode. An empty batch gives zeros.
        """

    @abstractmethod
    def result(self, statistics: Tensor) -> dict[str, float]:
        """The metrics that the summed statistics stand for; an empty mapping if there were no samples."""


class ClassificationEvaluation(Evaluation):
    """accuracy, precision, recall, f1 and loss of a classifier with one class a sample.

    Precision, recall and F1 are macro averages: the mean over the classes that occur as target or as prediction, 0 for a class
    whose quotient is 0/0. Statistics: the confusion matrix (target by prediction) row by row, the loss sum, the loss weight.
    """

    def __init__(self, classes: int, criterion: Criterion) -> None:
        self.length = classes * classes + 2
        self._classes = classes
        self._criterion = criterion

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> Tensor:
        """Batches with `inputs` and `targets` (int64 class numbers); the model gives (samples, classes)."""
        targets = batch["targets"]
        if not len(targets):
            return torch.zeros(self.length, dtype=torch.float64, device=targets.device)
        outputs = model(batch["inputs"]).double()
        cells = self._classes * self._classes
        matrix = torch.bincount(targets * self._classes + outputs.argmax(dim=1), minlength=cells).double()
        if len(matrix) > cells:
            raise ValueError(f"evaluation: a target or an output is beyond the task's {self._classes} classes")
        return torch.cat([matrix, _loss(self._criterion(outputs, targets), outputs)])

    def result(self, statistics: Tensor) -> dict[str, float]:
        """Accuracy, precision, recall, f1, loss."""
        values = statistics.double().cpu()
        matrix = values[:-2].reshape(self._classes, self._classes)
        count = matrix.sum()
        if count == 0:
            return {}
        hits, actual, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
        seen = (actual + predicted) > 0
        return {
            "accuracy": float(hits.sum() / count),
            "precision": _macro(hits, predicted, seen),
            "recall": _macro(hits, actual, seen),
            "f1": _macro(2 * hits, actual + predicted, seen),
            "loss": float(values[-2] / values[-1]),
        }


class RegressionEvaluation(Evaluation):
    """mse, rmse, mae, r2 and loss of a regression with one or several outputs, all outputs counting the same.

    r2 compares with always answering the mean of the evaluated targets, output by output, and is left out below two samples;
    where the targets are all the same it is 1 for exact answers and 0 otherwise. Statistics: samples, loss sum, loss weight, then for
    every output the sums of squared errors, absolute errors, targets and squared targets.
    """

    def __init__(self, outputs: int, criterion: Criterion) -> None:
        self.length = 3 + 4 * outputs
        self._outputs = outputs
        self._criterion = criterion

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> Tensor:
        """Batches with `inputs` and `targets`; the model gives the targets' shape."""
        targets = batch["targets"].double()
        if not len(targets):
            return torch.zeros(self.length, dtype=torch.float64, device=targets.device)
        outputs = model(batch["inputs"]).double()
        loss = _loss(self._criterion(outputs, targets), outputs)
        errors, truth = (outputs - targets).reshape(-1, self._outputs), targets.reshape(-1, self._outputs)
        sums = torch.stack([errors.square().sum(0), errors.abs().sum(0), truth.sum(0), truth.square().sum(0)])
        count = torch.tensor([len(truth)], dtype=torch.float64, device=truth.device)
        return torch.cat([count, loss, sums.flatten()])

    def result(self, statistics: Tensor) -> dict[str, float]:
        """mse, rmse, mae, r2, loss."""
        values = statistics.double().cpu()
        count = float(values[0])
        if count == 0:
            return {}
        squared, absolute, total, squares = values[3:].reshape(4, self._outputs)
        metrics = {
            "mse": float(squared.mean() / count),
            "rmse": float(squared.mean() / count) ** 0.5,
            "mae": float(absolute.mean() / count),
            "loss": float(values[1] / values[2]),
        }
        if count >= 2:
            spread = squares - total.square() / count
            explained = 1 - squared / spread.clamp(min=torch.finfo(torch.float64).tiny)
            constant = torch.where(squared == 0, 1.0, 0.0).double()
            metrics["r2"] = float(torch.where(spread > 0, explained, constant).mean())
        return metrics


def _loss(loss: LossSum, like: Tensor) -> Tensor:
    """(sum, weight) as a float64 tensor of two."""
    total, weight = loss
    return torch.stack([total.double(), torch.as_tensor(weight, dtype=torch.float64, device=like.device)])


def _macro(numerator: Tensor, denominator: Tensor, seen: Tensor) -> float:
    quotient = torch.where(denominator > 0, numerator / denominator.clamp(min=1), torch.zeros_like(numerator))
    return float(quotient[seen].mean())
