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
from trainingjob_trainer.learning.labels import check_labels, classes_second, counts
from trainingjob_trainer.learning.loss import IGNORED, LossSum, check_same_shape

Criterion = Callable[[Tensor, Tensor], LossSum]
"""(outputs, targets) -> (loss sum, weight)."""
_ELEMENTS = 1 << 24
"""So many of a classifier's outputs are measured at once."""


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
    """accuracy, precision, recall, f1 and loss of a classifier with one class a sample, or one a part of a sample.

    Precision, recall and F1 are macro averages: the mean over the classes that occur as target or as prediction, 0 for a class
    whose quotient is 0/0. Statistics: for every class how often it was hit, was the target, was predicted; the loss sum, the loss weight.

    Args:
        classes: how many there are.
        criterion: the loss; the outputs that it is given have the classes in dimension 1.
        ignored: the class number of labels that do not count.
        class_dimension: of the model's outputs, where their shape leaves it open.
    """

    def __init__(self, classes: int, criterion: Criterion, ignored: int = IGNORED, class_dimension: int | None = None) -> None:
        self.length = 3 * classes + 2
        self._classes = classes
        self._criterion = criterion
        self._ignored, self._class_dimension = ignored, class_dimension

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> Tensor:
        """Batches with `inputs` and `targets` (int64 class numbers); shapes as Classification has them."""
        targets = batch["targets"]
        total = torch.zeros(self.length, dtype=torch.float64, device=targets.device)
        if not len(targets):
            return total
        if targets.is_floating_point():
            raise ValueError(f"evaluation: the targets are {targets.dtype}; give class numbers (int64), or an Evaluation of your own")
        check_labels(targets, self._classes, self._ignored)
        outputs = classes_second(model(batch["inputs"]), targets, self._class_dimension)
        rows = max(1, _ELEMENTS // outputs[0].numel())  # 50,000 classes a token, as float64, would need gigabytes at once
        for some, labels in zip(torch.split(outputs, rows), torch.split(targets, rows), strict=True):
            total += self._measured(some.double(), labels)
        return total

    def _measured(self, outputs: Tensor, targets: Tensor) -> Tensor:
        counted = targets != self._ignored
        found = counts(targets[counted], outputs.argmax(dim=1)[counted], self._classes)
        return torch.cat([found.double().flatten(), _loss(self._criterion(outputs, targets), outputs)])

    def result(self, statistics: Tensor) -> dict[str, float]:
        """Accuracy, precision, recall, f1, loss."""
        values = statistics.double().cpu()
        hits, actual, predicted = values[:-2].reshape(3, self._classes)
        count = actual.sum()
        if count == 0:
            return {}
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
        """Batches with `inputs` and `targets`; the model gives the targets' shape.

        Raises:
            ValueError: it gives another shape, or a sample's numbers are not the task's outputs.
        """
        targets = batch["targets"].double()
        if not len(targets):
            return torch.zeros(self.length, dtype=torch.float64, device=targets.device)
        outputs = model(batch["inputs"]).double()
        check_same_shape(outputs, targets)
        if targets[0].numel() % self._outputs:
            raise ValueError(
                f"evaluation: a target has {targets[0].numel()} numbers, and the task {self._outputs} outputs; name them in `outputs`"
            )
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
