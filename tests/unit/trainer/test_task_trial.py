"""The evaluation is tried before the first step, and leaves no trace."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.checks.trial import _spread, try_evaluation
from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation
from trainingjob_trainer.learning.loss import cross_entropy_sum
from unit.trainer.toy_tasks import CLASSES, COLUMNS, Toy

NO_ROWS = torch.tensor([], dtype=torch.int64)


class Forgetful(nn.Module):
    """Changes everything that a forward pass can change, in evaluation mode too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
        self.register_buffer("queue", torch.zeros(4))
        self.register_buffer("replaced", torch.zeros(2))

    def forward(self, inputs: Any) -> Any:
        self.queue += torch.rand(4)
        self.replaced = self.replaced + np.random.rand() + random.random()
        return self.inner(inputs)


class Seen(Toy):
    seen: list[int]

    def model(self) -> nn.Module:
        return Forgetful(super().model())

    def evaluation(self) -> Any:
        task = self

        class Counting(ClassificationEvaluation):
            def update(self, model: Any, batch: Any) -> Any:
                task.seen.append(len(batch["targets"]))
                assert not model.training
                return super().update(model, batch)

        return Counting(CLASSES, cross_entropy_sum)


def generators() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_a_trial_leaves_generators_buffers_and_mode_as_they_were() -> None:
    task = Seen({"dropout": 0.5, "normalise": True})
    task.seen = []
    model = task.model().train()
    model.inner.eval()
    before, state = generators(), {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    metrics = try_evaluation(task, model, task.splits(7, 0.1, 0.1))
    assert set(metrics) == {"accuracy", "precision", "recall", "f1", "loss"}
    assert task.seen == [8]
    assert generators() == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert places == {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    assert (model.training, model.inner.training) == (True, False)


@pytest.mark.parametrize(("validation", "samples"), [(True, [8]), (False, [3])])
def test_what_is_held_out_is_tried(validation: bool, samples: list[int]) -> None:
    task = Seen({})
    task.seen = []
    splits = task.splits(7, 0.1, 0.1)
    few = splits.test.select(torch.arange(3))
    try_evaluation(task, task.model(), Splits(splits.train, splits.validation if validation else few.select(NO_ROWS), few))
    assert task.seen == samples


def test_without_held_out_samples_the_evaluation_is_not_called() -> None:
    task = Seen({})
    task.seen = []
    splits = task.splits(7, 0.1, 0.1)
    nothing = splits.test.select(NO_ROWS)
    assert try_evaluation(task, task.model(), Splits(splits.train, nothing, nothing)) == {}
    assert task.seen == []


class Recall(Toy):
    """Judged by the recall of the last class, in Python's numbers."""

    def evaluation(self) -> Any:
        class Judged:
            length = 2

            def update(self, model: Any, batch: Any) -> Any:
                of_class = batch["targets"] == CLASSES - 1
                hits = model(batch["inputs"]).argmax(dim=1)[of_class] == CLASSES - 1
                return torch.stack([hits.sum(), of_class.sum()])

            def result(self, statistics: Any) -> Any:
                hits, count = statistics.tolist()
                return {"recall": hits / count}

        return Judged()


def recall_of(targets: list[int]) -> dict[str, float]:
    task = Recall({})
    rows = Rows(inputs=torch.randn(len(targets), COLUMNS), targets=torch.tensor(targets))
    return try_evaluation(task, task.model(), Splits(rows, rows, rows))


def test_data_that_is_stored_by_class_is_tried_on_all_of_them() -> None:
    assert set(recall_of([0] * 100 + [1] * 100 + [CLASSES - 1] * 100)) == {"recall"}


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 1000])
def test_the_samples_that_are_tried_are_spread_over_the_data(count: int) -> None:
    ids = _spread(count).tolist()
    assert (len(set(ids)), min(ids), max(ids)) == (min(8, count), 0, count - 1)


def test_what_a_result_raises_on_a_few_samples_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert recall_of([0] * 100) == {}
    assert re.search(r"Judged\.result \(.*\) raised ZeroDivisionError on a few held-out samples: float division by zero", caplog.text)


def test_held_out_data_of_another_kind_is_refused() -> None:
    task = Toy({})
    splits = task.splits(7, 0.1, 0.1)
    odd = Rows(inputs=torch.zeros(4, 9), targets=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="4x9"):
        try_evaluation(task, task.model(), Splits(splits.train, odd, odd))
    odd.batch = lambda ids: None  # type: ignore[assignment]
    with pytest.raises(UserMistake, match="must return named columns"):
        try_evaluation(task, task.model(), Splits(splits.train, odd, odd))
