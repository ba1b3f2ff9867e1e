"""Toys with one mistake each, of the kinds that everybody makes once. The name of a class is the mistake."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from trainingjob_trainer.data import Pairs, Splits
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation, Evaluation
from trainingjob_trainer.learning.loss import cross_entropy_sum
from trainingjob_trainer.task import Regression
from unit.trainer.toy_tasks import CLASSES, COLUMNS, Toy


class SplitsAreATuple(Toy):
    def splits(self, *arguments: Any) -> Any:
        splits = super().splits(*arguments)
        return splits.train, splits.validation, splits.test


class MapStyle(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        return torch.ones(COLUMNS + index % 2), 0


class NoPairs(Toy):
    def splits(self, *arguments: Any) -> Any:
        return Splits(MapStyle(), MapStyle(), MapStyle())


class Ragged(Toy):
    def splits(self, *arguments: Any) -> Any:
        empty = super().splits(*arguments).test.select(torch.tensor([], dtype=torch.int64))
        return Splits(Pairs(MapStyle()), empty, empty)


class NoLength(Toy):
    def splits(self, *arguments: Any) -> Any:
        class Endless:
            def batch(self, ids: Any) -> Any:
                return {}

        return Splits(Endless(), Endless(), Endless())


class BatchIsATuple(Toy):
    def splits(self, *arguments: Any) -> Any:
        splits = super().splits(*arguments)
        splits.train.batch = lambda ids: (ids, ids)
        return splits


class ModelIsNone(Toy):
    def model(self) -> Any:
        super().model()


class ModelIsFrozen(Toy):
    def model(self) -> Any:
        return super().model().requires_grad_(False)


class EvaluationIsNone(Toy):
    def evaluation(self) -> Any:
        super().evaluation()


class LossIsAMean(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        return nn.functional.cross_entropy(model(batch["inputs"]), batch["targets"])


class LossIsAVector(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        return nn.functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none"), len(batch["targets"])


class LossIsAFloat(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        total, count = super().loss(model, batch)
        return total.item(), count


class LossIsDetached(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        total, count = super().loss(model, batch)
        return total.detach(), count


class LossHasThreeParts(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        return *super().loss(model, batch), "accuracy"


class LossIsElsewhere(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        total, count = super().loss(model, batch)
        return total.to("meta"), count


class WeightIsAName(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        return super().loss(model, batch)[0], "16"


class WrongLayerWidth(Toy):
    def model(self) -> Any:
        return nn.Linear(COLUMNS + 1, CLASSES)


class Typo(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        return cross_entropy_sum(model(batch["input"]), batch["targets"])


class ChangedInPlace(Toy):
    def loss(self, model: Any, batch: Any) -> Any:
        hidden = model(batch["inputs"]).exp()
        total = hidden.sum()
        hidden.add_(1)
        return total, len(hidden)


class OwnInit(Toy):
    def __init__(self) -> None:
        pass


class TypoWhileBuilding(Toy):
    def model(self) -> Any:
        return nn.Sequental()


class Exits(Toy):
    def model(self) -> Any:
        sys.exit(0)


class _Evaluation(ClassificationEvaluation):
    def __init__(self) -> None:
        super().__init__(CLASSES, cross_entropy_sum)


class OneNumber(_Evaluation):
    def update(self, model: Any, batch: Any) -> Any:
        return (model(batch["inputs"]).argmax(1) == batch["targets"]).double().sum()


class OneNumberOfMany(Toy):
    def evaluation(self) -> Evaluation:
        return OneNumber()


class Text(_Evaluation):
    def result(self, statistics: Any) -> Any:
        return {"accuracy": "good"}


class ResultIsText(Toy):
    def evaluation(self) -> Evaluation:
        return Text()


class Unmeasurable(_Evaluation):
    def result(self, statistics: Any) -> Any:
        return super().result(statistics) | {"loss": float("nan")}


class LossIsNotANumber(Toy):
    def evaluation(self) -> Evaluation:
        return Unmeasurable()


class Ranked(Regression):
    """Targets of one dimension, outputs of two."""

    splits = Toy.splits
    Parameters = Toy.Parameters

    def model(self) -> Any:
        return nn.Linear(COLUMNS, 1)
