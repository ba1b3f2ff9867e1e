"""Losses as (sum over the samples, number of samples). Pure.

Never means: a mean of means is wrong as soon as two shares of a batch differ in size, and they do whenever a global
batch does not divide evenly, at the tail of an epoch, and after a worker was lost. The loop adds sums and weights over
all workers, and divides once.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as functional
from torch import Tensor

IGNORED = -100
"""The class number of a label that does not count, as torch has it."""
LossSum = tuple[Tensor, Tensor | float]
"""A scalar tensor with the sum over the samples, and their number (or the sum of their weights)."""


def cross_entropy_sum(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, ignored: int = IGNORED) -> LossSum:
    """Cross entropy of a classifier, in nats: the sum over the labels, and their number.

    Divided by each other they are what torch's own mean gives, whichever way the labels are spread over batches and workers.

    Args:
        logits: (samples, classes, …), before any softmax.
        targets: (samples, …), int64 class numbers, one a sample or with further dimensions (a token, a pixel); or class probabilities,
            shaped as the logits.
        label_smoothing: the share of the target that is spread over all classes, from 0 to 1.
        ignored: the class number of labels that do not count.
    """
    options: dict[str, Any] = {"reduction": "none", "label_smoothing": label_smoothing}
    if targets.is_floating_point():
        each = functional.cross_entropy(logits, targets, **options)
        return each.sum(), float(each.numel())
    each = functional.cross_entropy(logits, targets, ignore_index=ignored, **options)
    return each.sum(), (targets != ignored).sum()


def mean_squared_error_sum(outputs: Tensor, targets: Tensor) -> LossSum:
    """Squared error, a sample's being the mean over its outputs. Both of shape (samples, …), the same one.

    Raises:
        ValueError: when the shapes differ: broadcasting (n, 1) against (n,) would train on a wrong loss in silence.
    """
    check_same_shape(outputs, targets)
    return _sum_of_samples((outputs - targets).square())


def mean_absolute_error_sum(outputs: Tensor, targets: Tensor) -> LossSum:
    """Absolute error, a sample's being the mean over its outputs. Shapes as in mean_squared_error_sum."""
    check_same_shape(outputs, targets)
    return _sum_of_samples((outputs - targets).abs())


def binary_cross_entropy_sum(logits: Tensor, targets: Tensor) -> LossSum:
    """Binary cross entropy in nats, a sample's being the mean over its outputs; targets from 0 to 1, shaped as the logits."""
    check_same_shape(logits, targets)
    return _sum_of_samples(functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none"))


def _sum_of_samples(each: Tensor) -> LossSum:
    samples = len(each)
    if not samples:
        return each.sum(), 0.0
    return (each.flatten(1).mean(dim=1) if each.dim() > 1 else each).sum(), float(samples)


def check_same_shape(outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs that would be broadcast against their targets.

    Raises:
        ValueError: with both shapes, and how to make them the same.
    """
    if outputs.shape == targets.shape:
        return
    fix = "they must be the same"
    if outputs.numel() == targets.numel():
        more = "model's outputs" if outputs.dim() > targets.dim() else "targets"
        fix += f": take the dimension of size 1 out of the {more}, as squeeze(-1) does"
    raise ValueError(f"loss: outputs have the shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; {fix}")
