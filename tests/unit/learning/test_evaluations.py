from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import nn

from trainingjob_trainer.data import Rows
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation, RegressionEvaluation
from trainingjob_trainer.learning.loss import cross_entropy_sum, mean_squared_error_sum

SAME = nn.Identity()


def summed(evaluation, dataset, *cuts):
    edges = [0, *sorted(cuts), len(dataset)]
    parts = [torch.arange(first, last) for first, last in pairwise(edges)]
    return sum((evaluation.update(SAME, dataset.batch(part)) for part in parts), torch.zeros(evaluation.length, dtype=torch.float64))


def classified(targets, predicted, classes):
    logits = nn.functional.one_hot(torch.tensor(predicted), classes).float() * 3
    return Rows(inputs=logits, targets=torch.tensor(targets))


@st.composite
def guesses(draw):
    classes = draw(st.integers(2, 5))
    length = draw(st.integers(1, 60))
    numbers = st.lists(st.integers(0, classes - 1), min_size=length, max_size=length)
    return draw(numbers), draw(numbers), classes


@settings(deadline=None)
@given(guess=guesses())
def test_classification_metrics_are_scikit_learns(guess):
    targets, predicted, classes = guess
    data = classified(targets, predicted, classes)
    evaluation = ClassificationEvaluation(classes, cross_entropy_sum)
    result = evaluation.result(summed(evaluation, data))
    macro = {"average": "macro", "zero_division": 0}
    assert result == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(targets, predicted),
            "precision": metrics.precision_score(targets, predicted, **macro),
            "recall": metrics.recall_score(targets, predicted, **macro),
            "f1": metrics.f1_score(targets, predicted, **macro),
            "loss": float(nn.functional.cross_entropy(data.columns["inputs"].double(), data.columns["targets"])),
        }
    )


@settings(deadline=None)
@given(guess=guesses(), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_statistics_add_up_over_any_split_of_the_samples(guess, cuts):
    targets, predicted, classes = guess
    data = classified(targets, predicted, classes)
    evaluation = ClassificationEvaluation(classes, cross_entropy_sum)
    whole, parts = summed(evaluation, data), summed(evaluation, data, *(min(cut, len(data)) for cut in cuts))
    assert torch.equal(whole[:-2], parts[:-2])
    torch.testing.assert_close(whole, parts)
    assert len(targets) == whole[-1]


def regressed(outputs, length, seed):
    random = np.random.default_rng(seed)
    return Rows(
        inputs=torch.from_numpy(random.normal(50, 20, (length, outputs))),
        targets=torch.from_numpy(random.normal(60, 30, (length, outputs))),
    )


@settings(deadline=None)
@given(outputs=st.integers(1, 3), length=st.integers(2, 50), seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 50), max_size=5))
def test_regression_metrics_are_scikit_learns_over_any_split(outputs, length, seed, cuts):
    data = regressed(outputs, length, seed)
    evaluation = RegressionEvaluation(outputs, mean_squared_error_sum)
    result = evaluation.result(summed(evaluation, data, *(min(cut, length) for cut in cuts)))
    truth, answers = data.columns["targets"].numpy(), data.columns["inputs"].numpy()
    assert result == pytest.approx(
        {
            "mse": metrics.mean_squared_error(truth, answers),
            "rmse": metrics.mean_squared_error(truth, answers) ** 0.5,
            "mae": metrics.mean_absolute_error(truth, answers),
            "r2": metrics.r2_score(truth, answers),
            "loss": metrics.mean_squared_error(truth, answers),
        },
        rel=1e-6,
    )


def test_targets_of_one_dimension_are_one_output():
    evaluation = RegressionEvaluation(1, mean_squared_error_sum)
    data = Rows(inputs=torch.tensor([1.0, 2.0]), targets=torch.tensor([1.0, 4.0]))
    assert evaluation.result(summed(evaluation, data))["mse"] == 2.0


@pytest.mark.parametrize(("answers", "r2"), [([2.0, 2.0], 1.0), ([2.0, 3.0], 0.0)])
def test_r2_of_constant_targets_is_finite(answers, r2):
    evaluation = RegressionEvaluation(1, mean_squared_error_sum)
    assert r2 == evaluation.result(summed(evaluation, Rows(inputs=torch.tensor(answers), targets=torch.tensor([2.0, 2.0]))))["r2"]


def test_one_sample_has_no_r2():
    evaluation = RegressionEvaluation(1, mean_squared_error_sum)
    assert "r2" not in evaluation.result(summed(evaluation, Rows(inputs=torch.ones(1), targets=torch.ones(1))))


@pytest.mark.parametrize("evaluation", [ClassificationEvaluation(3, cross_entropy_sum), RegressionEvaluation(1, mean_squared_error_sum)])
def test_no_samples_give_no_metrics(evaluation):
    assert evaluation.result(torch.zeros(evaluation.length, dtype=torch.float64)) == {}
    empty = Rows(inputs=torch.zeros(0, 3), targets=torch.zeros(0, dtype=torch.int64))
    assert evaluation.update(SAME, empty.batch(torch.empty(0, dtype=torch.int64))).abs().sum() == 0


def test_a_target_beyond_the_classes_is_refused():
    data = Rows(inputs=torch.zeros(1, 3), targets=torch.tensor([3]))
    evaluation = ClassificationEvaluation(3, lambda outputs, targets: (outputs.sum(), 1.0))
    with pytest.raises(ValueError, match="beyond the task's 3 classes"):
        summed(evaluation, data)
