"""A specimen of the conformity zoo: one small model of a kind that people train, and what is expected of it.

A job trains each specimen with 1, 2 and 3 workers. One of the two workers is killed in the middle of a step, and the job of three workers
is trained again from a checkpoint in its middle. All end with the weights of a plain torch loop (plain.py), within `tolerance`. Or the job
is refused before its first step, with the sentence `refused`.

To add one: write a function that makes the model, add a `Specimen` to SPECIMENS of a module in models/ (a new module is added to zoo.py),
and run `pytest tests/unit/conformity -k NAME`. A batch has these columns, one row a sample:

    inputs   float32, (samples, 8)
    targets  int64, (samples,): the class, 0 to 2, that the inputs say
    tokens   int64, (samples, 6): 0 to 9
    ids      int64, (samples,): the sample's number

`loss(model, batch)` returns the sum over the samples and their number, as a Task's; `classify` is the usual one. If the samples of a part
of a batch influence each other (batch normalization), set `coupled`: the plain loop then cuts each batch into the workers' parts, as
DistributedDataParallel does. `buffers=False` leaves the buffers out of the comparison. A specimen whose task needs more than model and loss
names a subclass of unit.conformity.task.Zoo in `task`. `policies` are those of its buffers; the plain loop heeds them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.buffers import Policy
from trainingjob_trainer.learning.loss import LossSum, cross_entropy_sum

FEATURES, CLASSES, WORDS, LENGTH = 8, 3, 10, 6
MOMENTUM = {"name": "Momentum", "learningRate": 0.05, "weightDecay": 0.1}
"""For models that have gradients which are zero but for rounding (a bias before a norm): Adam would make steps of them."""


def classify(model: nn.Module, batch: Batch) -> LossSum:
    return cross_entropy_sum(model(batch["inputs"]), batch["targets"])


def read(model: nn.Module, batch: Batch) -> LossSum:
    """As `classify`, from the tokens."""
    return cross_entropy_sum(model(batch["tokens"]), batch["targets"])


def head(width: int) -> nn.Module:
    return nn.Linear(width, CLASSES)


@dataclass(frozen=True)
class Specimen:
    name: str
    model: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Tensor | float]] = classify
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "AdamW", "learningRate": 0.01, "weightDecay": 0.1})
    """As in the manifest."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """More fields of `spec.training`."""
    tolerance: float = 1e-5
    """Relative and absolute, of each weight and buffer."""
    coupled: bool = False
    """Samples of one part influence each other."""
    deterministic: bool = False
    """Also trained with `reduction: Deterministic`."""
    buffers: bool = True
    """Buffers are compared, too."""
    task: str = "unit.conformity.task:Zoo"
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """What the task says about the model's buffers."""
    refused: str = ""
    """A part of the sentence with which the job is refused."""
    workers: int = 1
    """Of the job that is refused."""
    late: bool = False
    """The job is refused only in a step, because forward makes the mistake."""
    again: bool = False
    """Its backward passes differ so much that some step of three workers is computed twice."""
    brief: bool = False
    """It is trained with two workers alone, and nobody is killed: its processes take seconds to begin, or others are of its kind."""
