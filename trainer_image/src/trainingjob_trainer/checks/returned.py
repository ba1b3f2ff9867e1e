"""Calls a task's methods and checks what they return, so that a mistake is told where it was made. Pure but for the calls.

Each function keeps what it calls in a variable named `method`: an exception from below it is told with that name (see `mistakes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob_trainer.checks.mistakes import FIELD, UserMistake, calls_the_task, makes_data_or_model, place_of
from trainingjob_trainer.data import Batch, Dataset, Splits
from trainingjob_trainer.learning.evaluation import Evaluation
from trainingjob_trainer.learning.loss import LossSum
from trainingjob_trainer.task import Task

_SUM_AND_WEIGHT = "(sum of the loss over the samples, number of samples)"
_PARTS = ("train", "validation", "test")


@makes_data_or_model
def splits_of(task: Task, seed: int, validation: float, test: float) -> Splits:
    """The task's data.

    Raises:
        UserMistake: it is not a Splits of three datasets.
    """
    method = task.splits
    splits: Any = method(seed, validation, test)
    if not isinstance(splits, Splits):
        raise _returned(method, "a Splits", splits, "write Splits(train, validation, test), from trainingjob_trainer.data")
    for part in _PARTS:
        dataset = getattr(splits, part)
        if not callable(getattr(dataset, "batch", None)):
            fix = "put Pairs(...) around a torch dataset, or give a class with batch(ids)" if hasattr(dataset, "__getitem__") else ""
            raise _returned(
                method, f"a dataset with batch(ids) as Splits.{part}", dataset, fix or "give Rows, Pairs or a class of your own"
            )
        _check_length(dataset, part, method)
    return splits


@makes_data_or_model
def _check_length(dataset: Any, part: str, method: Callable[..., Any]) -> None:
    try:
        len(dataset)
    except TypeError as error:
        reason = "it has no length" if "has no len()" in str(error) else " ".join(str(error).split())
        raise UserMistake(
            f"{FIELD}: {place_of(method)} gives {_named(dataset)} as Splits.{part}, and {reason}; write __len__, the number of its samples"
        ) from error


@makes_data_or_model
def model_of(task: Task) -> nn.Module:
    """The task's model.

    Raises:
        UserMistake: it is no module, or there is nothing to train in it.
    """
    method = task.model
    model: Any = method()
    if not isinstance(model, nn.Module):
        raise _returned(method, "a torch.nn.Module", model, "end it with `return model`" if model is None else "return the module itself")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        known = sum(1 for _ in model.parameters())
        what = f"whose {known} parameters all have requires_grad=False" if known else "without any parameter"
        raise UserMistake(
            f"{FIELD}: {place_of(method)} returned {_named(model)} {what}; there is nothing to train: unfreeze or add a layer"
        )
    return model


@calls_the_task
def evaluation_of(task: Task) -> Evaluation:
    """How the task is judged.

    Raises:
        UserMistake: it is no Evaluation, or does not say how many numbers it counts.
    """
    method = task.evaluation
    evaluation: Any = method()
    if not (callable(getattr(evaluation, "update", None)) and callable(getattr(evaluation, "result", None))):
        fix = "end it with `return`, or derive the class from Evaluation" if evaluation is None else "derive its class from Evaluation"
        raise _returned(method, "an Evaluation", evaluation, f"{fix} (trainingjob_trainer.learning.evaluation)")
    length = getattr(evaluation, "length", None)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise UserMistake(
            f"{FIELD}: {place_of(method)} returned {_named(evaluation)} whose `length` is {length!r}; it must be its number of statistics"
        )
    return evaluation  # type: ignore[no-any-return]


@makes_data_or_model
def batch_of(dataset: Dataset, ids: Tensor) -> Batch:
    """The samples `ids`.

    Raises:
        UserMistake: they are not named columns.
    """
    method = getattr(dataset, "watched", dataset).batch
    batch: Any = dataset.batch(ids)
    if not isinstance(batch, Mapping):
        raise _returned(method, 'named columns, such as {"inputs": ..., "targets": ...}', batch, "return a dict")
    return batch


@calls_the_task
def loss_of(task: Task, model: nn.Module, batch: Batch, device: torch.device) -> LossSum:
    """The loss sum of a batch and its weight.

    Args:
        task: computes them.
        model: in training mode.
        batch: a part of a global batch.
        device: where the model is.

    Raises:
        UserMistake: it is not a pair of a scalar on `device` with a gradient, and a number that is not negative.
    """
    method = task.loss
    found: Any = method(model, batch)
    if isinstance(found, Tensor) or not isinstance(found, Sequence) or len(found) != 2:
        fix = "return its sum and the number of samples, as in `return each.sum(), len(each)`"
        raise _returned(method, _SUM_AND_WEIGHT, found, f"never a mean: {fix}" if _is_single(found) else fix)
    loss, weight = found
    if not isinstance(loss, Tensor) or loss.dim() != 0 or not loss.is_floating_point():
        fix = "add `.sum()`" if isinstance(loss, Tensor) and loss.dim() else "return what torch computed, without float() or .item()"
        raise _returned(method, f"{_SUM_AND_WEIGHT} with a tensor of one number first", loss, fix)
    if not loss.requires_grad and torch.is_grad_enabled():
        raise UserMistake(
            f"{FIELD}: {place_of(method)} returned a loss without a gradient; compute it from the model's outputs,"
            " without detach(), .data, no_grad() or torch.tensor(...)"
        )
    if loss.device != device:
        raise UserMistake(
            f"{FIELD}: {place_of(method)} returned a loss on {loss.device}, and the model is on {device}; make its tensors with device=..."
        )
    _check_weight(weight, method)
    return loss, weight


def _check_weight(weight: Any, method: Callable[..., Any]) -> None:
    if isinstance(weight, Tensor):  # its value is on the device; reading it here would wait for it
        good = weight.numel() == 1 and not weight.is_complex()
    else:
        good = isinstance(weight, Real) and math.isfinite(weight) and float(weight) >= 0
    if not good:
        raise _returned(method, f"{_SUM_AND_WEIGHT} with one number, 0 or more, second", weight, "return the batch's number of samples")


@calls_the_task
def statistics_of(evaluation: Evaluation, model: nn.Module, batch: Batch) -> Tensor:
    """The statistics of a batch.

    Raises:
        UserMistake: they are no vector of `evaluation.length` numbers.
    """
    method = evaluation.update
    found: Any = method(model, batch)
    wanted = f"a tensor of shape ({evaluation.length},), as its `length` is {evaluation.length}"
    if not isinstance(found, Tensor) or found.shape != (evaluation.length,):
        fix = "return one number for each statistic, as in torch.stack([hits, loss, count])"
        raise _returned(method, wanted, found, fix)
    if found.is_complex():
        raise _returned(method, f"{wanted}, of real numbers", found, "take the real part")
    return found


@calls_the_task
def metrics_of(evaluation: Evaluation, statistics: Tensor) -> dict[str, float]:
    """What the summed statistics stand for.

    Raises:
        UserMistake: it is no dictionary of names and numbers.
    """
    method = evaluation.result
    found: Any = method(statistics)
    if not isinstance(found, Mapping):
        raise _returned(method, "a dict of metrics by name", found, 'as in {"accuracy": hits / count}')
    metrics = {}
    for name, value in found.items():
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex() else value
        if not isinstance(name, str) or not isinstance(number, Real):
            raise _returned(method, "a dict of names and numbers", found, f"{name!r} is {_described(value)}: give a float")
        metrics[name] = float(number)
    return metrics


def _returned(method: Callable[..., Any], wanted: str, found: Any, fix: str) -> UserMistake:
    return UserMistake(f"{FIELD}: {place_of(method)} must return {wanted}; it returned {_described(found)}; {fix}")


def _is_single(found: Any) -> bool:
    return isinstance(found, Tensor) and found.dim() == 0


def _described(value: Any) -> str:
    """What a value is, in a few words."""
    if isinstance(value, Tensor):
        return "a tensor of one number" if value.dim() == 0 else f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        kinds = ", ".join(type(part).__name__ for part in value[:4])
        return f"a {type(value).__name__} of {len(value)} ({kinds}{', ...' if len(value) > 4 else ''})"
    if isinstance(value, bool | int | float | complex | str):
        return f"{value!r:.40} (a {type(value).__name__})"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(repr, list(value)[:6])) or 'nothing in it'}"
    return _named(value)


def _named(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
