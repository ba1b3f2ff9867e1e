"""Losses as (sum over the samples, number of samples). Pure.

Never means: a mean of means is wrong as soon as two shares of a batch differ in size, and they do whenever a global
batch does not divide evenly, at the tail of an epoch, and after a worker was lost. The loop adds sums and weights over
all workers, and divides once.
"""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

LossSum = tuple[Tensor, Tensor | float]
"""A scalar tensor with the sum over the samples, and their number (or the sum of their weights)."""


def cross_entropy_sum(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> LossSum:
    """Cross entropy of a classifier, in nats.

    Args:
        logits: (samples, classes, …), before any softmax.
        targets: (samples, …), int64 class numbers; with further dimensions (a class per pixel) a sample counts their mean.
        label_smoothing: the share of the target that is spread over all classes, from 0 to 1.
    """
    each = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    return _sum_of_samples(each)


def mean_squared_error_sum(outputs: Tensor, targets: Tensor) -> LossSum:
    """Squared error, a sample's being the mean over its outputs. Both of shape (samples, …), the same one.

    Raises:
        ValueError: when the shapes differ: broadcasting (n, 1) against (n,) would train on a wrong loss in silence.
    """
    _same_shape(outputs, targets)
    return _sum_of_samples((outputs - targets).square())


def mean_absolute_error_sum(outputs: Tensor, targets: Tensor) -> LossSum:
    """Absolute error, a sample's being the mean over its outputs. Shapes as in mean_squared_error_sum."""
    _same_shape(outputs, targets)
    return _sum_of_samples((outputs - targets).abs())


def binary_cross_entropy_sum(logits: Tensor, targets: Tensor) -> LossSum:
    """Binary cross entropy in nats, a sample's being the mean over its outputs; targets from 0 to 1, shaped as the logits."""
    _same_shape(logits, targets)
    return _sum_of_samples(functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none"))


def _sum_of_samples(each: Tensor) -> LossSum:
    samples = len(each)
    if not samples:
        return each.sum(), 0.0
    return (each.flatten(1).mean(dim=1) if each.dim() > 1 else each).sum(), float(samples)


def _same_shape(outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape:
        raise ValueError(f"loss: outputs have the shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; they must be the same")
