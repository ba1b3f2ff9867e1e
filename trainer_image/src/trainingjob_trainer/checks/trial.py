"""Tries a task's evaluation on a few held-out samples before the first step. Effects: none that last.

The evaluation is called for the first time after an epoch, which may be hours later: what is wrong with it is to be found now. It runs on
an object of its own. Random generators, parameters, buffers and the model's mode are put back, so that a run with it has the bits of one
without.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from trainingjob_trainer.checks.mistakes import UserMistake, place_of
from trainingjob_trainer.checks.returned import batch_of, evaluation_of, metrics_of, statistics_of
from trainingjob_trainer.data import Batch, Dataset, Splits
from trainingjob_trainer.learning.caches import NewCaches
from trainingjob_trainer.learning.collate import to_device
from trainingjob_trainer.task import Task

SAMPLES = 8
logger = logging.getLogger(__name__)


def try_evaluation(task: Task, model: nn.Module, splits: Splits) -> dict[str, float]:
    """Evaluate a few held-out samples; return the metrics, {} where no sample is held out or so few give none.

    Raises:
        UserMistake: the evaluation, or the held-out data, cannot work as it is.
    """
    evaluation = evaluation_of(task)
    dataset = _held_out(splits)
    if dataset is None:
        return {}
    device = next(model.parameters()).device
    batch: Batch = to_device(batch_of(dataset, _spread(len(dataset))), device)
    with untouched(model), torch.no_grad():
        model.eval()
        statistics = statistics_of(evaluation, model, batch).to(torch.float64)
    try:
        return metrics_of(evaluation, statistics.cpu())
    except UserMistake:
        raise
    except Exception as error:  # a ratio without a denominator, for one: all the data may well have what a few samples lack
        where = place_of(evaluation.result)
        logger.warning("%s raised %s on a few held-out samples: %s", where, type(error).__name__, error, exc_info=error)
        return {}


def _spread(length: int) -> Tensor:
    """Return ids from the whole dataset: data that is stored by class begins with one class alone."""
    count = min(SAMPLES, length)
    return torch.arange(count) * (length - 1) // max(1, count - 1)


def _held_out(splits: Splits) -> Dataset | None:
    return next((dataset for dataset in (splits.validation, splits.test) if len(dataset)), None)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put the random generators, the model's parameters and buffers, and each module's mode back as they were."""
    parameters = [(parameter, parameter.detach().to("cpu", copy=True)) for parameter in model.parameters()]
    buffers = [_Kept(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items() if buffer is not None]
    caches = NewCaches(model)
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for module, training in modes:
                if module.training != training:
                    module.train(training)  # by the method: adapters that it has merged into weights come out again
            for module, training in modes:
                module.training = training
            for parameter, value in parameters:
                _put_back(parameter, value)
            caches.remove()
            for buffer in buffers:
                buffer.put_back()


@torch.no_grad()
def _put_back(parameter: nn.Parameter, value: Tensor) -> None:
    """Only where it has changed: for a moment, one more copy of this parameter."""
    if not torch.equal(parameter.detach().cpu(), value):
        parameter.data.copy_(value)


class _Kept:
    """One buffer, as it was."""

    def __init__(self, module: nn.Module, name: str, buffer: Tensor) -> None:
        self._module, self._name, self._buffer = module, name, buffer
        self._value = buffer.detach().clone()

    @torch.no_grad()
    def put_back(self) -> None:
        """A forward pass may have put another tensor in its place, or have written into it. A cache that has grown stays."""
        now = self._module._buffers.get(self._name)
        if self._name in self._module._non_persistent_buffers_set and now is not None and now.shape != self._value.shape:
            return
        self._module._buffers[self._name] = self._buffer
        if not torch.equal(self._buffer, self._value):
            self._buffer.copy_(self._value)
