"""What a user writes: a Task is data, model, loss and metrics in one class. No training here, and no knowledge of workers.

`load_task` makes the task that a manifest names. All errors a user can cause are ValueErrors that name the field.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from trainingjob_trainer.checks.imports import import_task
from trainingjob_trainer.checks.mistakes import place_of
from trainingjob_trainer.data import Batch, Splits
from trainingjob_trainer.learning.buffers import Policy
from trainingjob_trainer.learning.evaluation import ClassificationEvaluation, Evaluation, RegressionEvaluation
from trainingjob_trainer.learning.labels import check_labels, classes_second
from trainingjob_trainer.learning.loss import IGNORED, LossSum, cross_entropy_sum, mean_squared_error_sum

Answer = dict[str, str | float]
"""What a model says about one row: column by column, for a table or JSON."""


class TaskParameters(BaseModel):
    """Base of a task's `Parameters`: one field a parameter, its default and its limits.

    Unknown parameters are refused, and so is "3" for a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class ParameterError(ValueError):
    """The manifest's task.parameters do not fit the task."""


class Task(ABC):
    """Data, model, loss and metrics of one kind of job.

    Every worker makes its own object from the same parameters, and again after every restart. So all of it must be deterministic:
    the same parameters and seed give the same samples under the same ids, and the same model.

    A subclass that takes parameters declares them:

        class Parameters(TaskParameters):
            hidden: int = Field(64, ge=1)

        parameters: Parameters

    Raises:
        ParameterError: from the constructor, naming the parameter that is wrong or unknown.
    """

    class Parameters(TaskParameters):
        """No parameters, unless a subclass says otherwise."""

    parameters: TaskParameters

    def __init__(self, parameters: Mapping[str, object]) -> None:
        try:
            # By way of JSON, as the manifest gives them: so a field may be a tuple, a set or a path.
            self.parameters = self.Parameters.model_validate_json(json.dumps(dict(parameters)))
        except TypeError as error:
            raise ParameterError(f"spec.training.task.parameters: {error}") from None
        except ValidationError as error:
            raise ParameterError("; ".join(self._explain(detail["loc"], detail["msg"]) for detail in error.errors())) from None

    @abstractmethod
    def splits(self, seed: int, validation: float, test: float) -> Splits:
        """The data in three parts: a pure function of the parameters and these arguments. Called once, before `model`.

        Args:
            seed: the job's seed.
            validation: the fraction to validate on.
            test: the fraction to test on at the end.
        """

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model on the CPU. torch's random generator was seeded by the caller: use no other randomness.

        For training it is called after `splits`, so that statistics of the training data can be built in; for predictions
        `splits` was not called, and a state is loaded into the model.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The loss *summed* over the samples of a batch, and their number.

        A batch is any part of a global batch. Never return a mean.
        """

    def buffers(self) -> Mapping[str, Policy]:
        """What the workers go on with when a forward pass changes a buffer: name or pattern → Mean, Rank0, PerRank or Keep.

        Batch and instance normalisation's statistics, spectral normalisation's vectors, counters, and buffers that never change need
        no word. See learning.buffers.
        """
        return {}

    @abstractmethod
    def evaluation(self) -> Evaluation:
        """How the model is judged on validation and test data."""

    def columns(self) -> Sequence[str]:
        """The names of the numbers that one row for `predict` consists of."""
        raise ValueError(f"{type(self).__name__} makes no predictions: it defines no columns() and no predict()")

    def predict(self, model: nn.Module, rows: Tensor) -> list[Answer]:
        """One answer a row.

        Args:
            model: loaded, in evaluation mode.
            rows: float32, shape (rows, columns).
        """
        raise ValueError(f"{type(self).__name__} makes no predictions: it defines no predict()")

    def _explain(self, location: Sequence[str | int], message: str) -> str:
        message = f"{message[:1].lower()}{message[1:]}"
        if not location:
            return f"spec.training.task.parameters: {message}"
        name = ".".join(str(part) for part in location)
        known = ", ".join(self.Parameters.model_fields) or "none"
        if len(location) == 1 and name not in self.Parameters.model_fields:
            return f"spec.training.task.parameters.{name}: {type(self).__name__} has no such parameter; it has {known}"
        return f"spec.training.task.parameters.{name}: {message}"


class Classification(Task):
    """A task with one class a sample, or one a part of a sample (a token, a pixel).

    Batches have `inputs` and `targets`, class numbers of shape (samples,) or (samples, …); a label that is `ignored` counts nowhere. The
    model gives (samples, classes), (samples, classes, …) or (samples, …, classes).

    A subclass has to say `splits`, `model` and `classes`; and `columns`, if it is to make predictions.
    """

    classes: Sequence[str]
    """The names of the classes, by number."""
    ignored: int = IGNORED
    """The class number of labels that do not count."""
    class_dimension: int | None = None
    """Of the model's outputs, 1 or -1, where their shape leaves it open (as many classes as tokens). None: as the shape says."""

    def criterion(self, outputs: Tensor, targets: Tensor) -> LossSum:
        """Cross entropy; override it for another loss. The outputs have the classes in dimension 1."""
        return cross_entropy_sum(outputs, targets, ignored=self.ignored)

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The criterion of the model's outputs.

        Raises:
            ValueError: a label is none of the classes and not `ignored`, or outputs and targets do not fit each other.
        """
        targets = batch["targets"]
        check_labels(targets, len(self.classes), self.ignored)
        return self.criterion(classes_second(model(batch["inputs"]), targets, self.class_dimension), targets)

    def evaluation(self) -> Evaluation:
        """accuracy, precision, recall, f1 (macro), loss."""
        return ClassificationEvaluation(len(self.classes), self.criterion, self.ignored, self.class_dimension)

    @torch.no_grad()
    def predict(self, model: nn.Module, rows: Tensor) -> list[Answer]:
        """The likeliest class and its probability."""
        chances, winners = model(rows).softmax(dim=1).max(dim=1)
        return [
            {"class": self.classes[winner], "probability": chance}
            for winner, chance in zip(winners.tolist(), chances.tolist(), strict=True)
        ]


class Regression(Task):
    """A task with numbers to be met: batches have `inputs` and `targets`, the model gives the targets' shape.

    A subclass has to say `splits` and `model`; `columns`, if it is to make predictions; `outputs`, if there is more than one.
    """

    outputs: Sequence[str] = ("value",)
    """The names of the target's columns."""

    def criterion(self, outputs: Tensor, targets: Tensor) -> LossSum:
        """Squared error; override it for another loss."""
        return mean_squared_error_sum(outputs, targets)

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The criterion of the model's outputs."""
        return self.criterion(model(batch["inputs"]), batch["targets"])

    def evaluation(self) -> Evaluation:
        """mse, rmse, mae, r2, loss."""
        return RegressionEvaluation(len(self.outputs), self.criterion)

    @torch.no_grad()
    def predict(self, model: nn.Module, rows: Tensor) -> list[Answer]:
        """The model's outputs by name."""
        answers = model(rows).reshape(len(rows), len(self.outputs)).tolist()
        return [dict(zip(self.outputs, answer, strict=True)) for answer in answers]


def load_task(reference: str, parameters: Mapping[str, object]) -> Task:
    """The task that a manifest's `training.task` names.

    Args:
        reference: "module:Class", importable in this process.
        parameters: the manifest's `training.task.parameters`.

    Raises:
        ValueError: when there is no such class, it is not a Task, or a parameter is wrong; the message names the field.
    """
    field = "spec.training.task.class"
    module_name, colon, class_name = reference.partition(":")
    if not (module_name and colon and class_name):
        raise ValueError(f'{field}: {reference!r} must have the form "module:Class", as in "trainingjob_trainer.tasks.digits:Digits"')
    module = import_task(module_name)
    task = getattr(module, class_name, None)
    if task is None:
        raise ValueError(f"{field}: module {module_name} has no {class_name!r}")
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise ValueError(f"{field}: {reference} is not a subclass of trainingjob_trainer.task.Task")
    missing = sorted(task.__abstractmethods__)
    if missing:
        raise ValueError(f"{field}: {reference} does not define {', '.join(missing)}")
    try:
        inspect.signature(task).bind(parameters)
    except TypeError as error:
        raise ValueError(
            f"{field}: {place_of(task.__init__)} must take the parameters ({error});"
            " write `def __init__(self, parameters): super().__init__(parameters)`, or leave it out"
        ) from None
    return task(parameters)
