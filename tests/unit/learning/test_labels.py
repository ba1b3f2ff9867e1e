"""Ready-made classification: labels that do not count, a label a token, and as many classes as a vocabulary has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation, RegressionEvaluation
from trainingjob_trainer.learning.loss import cross_entropy_sum, mean_squared_error_sum
from trainingjob_trainer.task import Classification

SAME = nn.Identity()


class Tagging(Classification):
    classes = ("a", "b", "c")

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        raise NotImplementedError

    def model(self) -> nn.Module:
        return SAME


def logits_of(guesses: Tensor, classes: int = 3, last: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    logits = functional.one_hot(guesses, classes).float() * 3 + torch.rand(*guesses.shape, classes, generator=generator)
    return logits if last else logits.movedim(-1, 1)


@st.composite
def labelled(draw: Any) -> tuple[Tensor, Tensor]:
    """Guesses and labels of tokens, some of which do not count."""
    samples, tokens = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 4, 5]))
    label, guess = st.sampled_from([-100, 0, 1, 2]), st.integers(0, 2)
    shape = st.lists(st.lists(label, min_size=tokens, max_size=tokens), min_size=samples, max_size=samples)
    shaped = st.lists(st.lists(guess, min_size=tokens, max_size=tokens), min_size=samples, max_size=samples)
    return torch.tensor(draw(shaped)), torch.tensor(draw(shape))


@settings(deadline=None)
@given(tokens=labelled(), last=st.booleans(), cut=st.integers(0, 6))
def test_tokens_are_judged_as_plain_torch_and_scikit_learn_judge_them(tokens: tuple[Tensor, Tensor], last: bool, cut: int) -> None:
    guesses, labels = tokens
    counted = labels != -100
    logits = logits_of(guesses, last=last)
    evaluation, data = Tagging({}).evaluation(), Rows(inputs=logits, targets=labels)
    parts = [torch.arange(min(cut, len(labels))), torch.arange(min(cut, len(labels)), len(labels))]
    result = evaluation.result(sum(evaluation.update(SAME, data.batch(ids)) for ids in parts))
    if not counted.any():
        assert result == {}
        return
    truth, guess = labels[counted].tolist(), guesses[counted].tolist()
    macro = {"average": "macro", "zero_division": 0}
    plain = functional.cross_entropy(logits_of(guesses).double(), labels)
    assert result == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, guess),
            "precision": metrics.precision_score(truth, guess, **macro),
            "recall": metrics.recall_score(truth, guess, **macro),
            "f1": metrics.f1_score(truth, guess, **macro),
            "loss": float(plain),
        }
    )


@settings(deadline=None)
@given(tokens=labelled(), last=st.booleans(), cut=st.integers(0, 6))
def test_the_gradient_over_any_cut_is_that_of_torchs_mean(tokens: tuple[Tensor, Tensor], last: bool, cut: int) -> None:
    guesses, labels = tokens
    logits = logits_of(guesses, last=last).requires_grad_()
    task = Tagging({})
    parts = [slice(0, cut), slice(cut, None)]
    found = [task.loss(SAME, {"inputs": logits[part], "targets": labels[part]}) for part in parts if len(labels[part])]
    weight = sum(float(weight) for _, weight in found)
    assert weight == int((labels != -100).sum())
    if weight:
        (gradient,) = torch.autograd.grad(sum(loss for loss, _ in found) / weight, logits)
        plain = functional.cross_entropy(logits.movedim(-1, 1) if last else logits, labels)
        torch.testing.assert_close(gradient, torch.autograd.grad(plain, logits)[0])


def test_labels_of_whole_samples_may_be_left_out() -> None:
    labels = torch.tensor([0, -100, 2, -100])
    loss, weight = Tagging({}).loss(SAME, {"inputs": logits_of(torch.tensor([0, 1, 2, 0])), "targets": labels})
    assert float(weight) == 2
    assert float(loss) == pytest.approx(2 * float(functional.cross_entropy(logits_of(torch.tensor([0, 1, 2, 0])), labels)))


def test_another_number_may_stand_for_labels_that_do_not_count() -> None:
    class Segments(Tagging):
        ignored = 255

    batch = {"inputs": logits_of(torch.tensor([0, 1])), "targets": torch.tensor([255, 1])}
    assert float(Segments({}).loss(SAME, batch)[1]) == 1
    evaluation = Segments({}).evaluation()
    assert evaluation.result(evaluation.update(SAME, batch))["accuracy"] == 1.0
    with pytest.raises(ValueError, match="row 0 of the batch has the label 255"):
        Tagging({}).loss(SAME, batch)


@pytest.mark.parametrize("label", [-1, 3, -99])
def test_a_label_that_is_no_class_is_named(label: int) -> None:
    batch = {"inputs": logits_of(torch.zeros(2, 4, dtype=torch.int64)), "targets": torch.tensor([[0, 1, 2, 0], [0, label, 1, 1]])}
    says = rf"targets: row 1 of the batch has the label {label}, beyond the task's 3 classes; labels are from 0 to 2, or -100 for"
    for call in (Tagging({}).loss, Tagging({}).evaluation().update):
        with pytest.raises(ValueError, match=says):
            call(SAME, batch)


@pytest.mark.parametrize(
    ("outputs", "targets", "says"),
    [
        ((4, 3, 3), (4, 3), r"the classes may be in the second or in the last dimension; set class_dimension = 1 or -1"),
        ((4, 3), (4, 1), r"outputs have the shape \(4, 3\), the targets \(4, 1\); .*; give the targets the shape \(samples,\), as squeeze"),
        ((4, 3, 7), (4, 5), r"for targets \(samples, \.\.\.\) they must be \(samples, classes, \.\.\.\) or \(samples, \.\.\., classes\)$"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_told(outputs: tuple[int, ...], targets: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Tagging({}).loss(SAME, {"inputs": torch.zeros(outputs), "targets": torch.zeros(targets, dtype=torch.int64)})


def test_a_task_may_say_where_its_classes_are() -> None:
    guesses = torch.tensor([[0, 1, 2]] * 2)

    class Last(Tagging):
        class_dimension = -1

    evaluation = Last({}).evaluation()
    assert evaluation.result(evaluation.update(SAME, {"inputs": logits_of(guesses, last=True), "targets": guesses}))["accuracy"] == 1.0


@pytest.mark.parametrize("classes", [10_000, 50_257])
def test_memory_grows_with_the_classes_and_not_with_their_square(classes: int) -> None:
    labels = torch.arange(24) * 7
    evaluation = ClassificationEvaluation(classes, cross_entropy_sum)
    statistics = evaluation.update(SAME, {"inputs": logits_of(labels, classes), "targets": labels})
    assert statistics.shape == (evaluation.length,) == (3 * classes + 2,)
    assert evaluation.result(statistics)["accuracy"] == 1.0


def test_many_outputs_are_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(12) % 3
    batch = {"inputs": logits_of((labels + (labels > 1)) % 3), "targets": labels}
    evaluation = Tagging({}).evaluation()
    whole = evaluation.update(SAME, batch)
    monkeypatch.setattr("trainingjob_trainer.learning.evaluation._ELEMENTS", 15)
    torch.testing.assert_close(evaluation.update(SAME, batch), whole)


def test_a_regressions_outputs_are_not_broadcast_against_their_targets() -> None:
    evaluation = RegressionEvaluation(1, lambda outputs, targets: ((outputs - targets).square().sum(), 1.0))
    with pytest.raises(
        ValueError, match=r"\(4, 1\), targets \(4,\); they must be the same: take the dimension of size 1 out of the model's"
    ):
        evaluation.update(SAME, {"inputs": torch.zeros(4, 1), "targets": torch.zeros(4)})
    with pytest.raises(ValueError, match="a target has 3 numbers, and the task 2 outputs"):
        RegressionEvaluation(2, mean_squared_error_sum).update(SAME, {"inputs": torch.zeros(4, 3), "targets": torch.zeros(4, 3)})
