"""What is trained and how. Pure."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, StringConstraints, WithJsonSchema, model_validator

from trainingjob_api.spec.base import Number, SpecModel, Whole, cel, refuse, rules
from trainingjob_api.spec.optimisation import Optimizer, Regularisation, Schedule
from trainingjob_api.spec.patterns import CLASS_PATTERN, IDENTIFIER_PATTERN

__all__ = [
    "EarlyStopping",
    "Evaluation",
    "Optimizer",
    "Regularisation",
    "Schedule",
    "Script",
    "Split",
    "Strategy",
    "Task",
    "Training",
]

MAX_STEPS = 10**9
MAX_TEXT = 4096
MAX_VALUES = 1024
MAX_DEPTH = 8
MAX_NAME = 253

ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=IDENTIFIER_PATTERN)]
CommandWord = Annotated[str, StringConstraints(max_length=4096)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
BatchSize = Annotated[Whole, Field(ge=1, le=1 << 24)]


def _parameter(value: Any) -> Any:
    """Refuse what JSON cannot say, and what is too deep or too large for an object of the API server."""
    values = 0
    left: list[tuple[str, Any, int]] = [("", value, 1)]
    while left:
        place, part, depth = left.pop()
        values += 1
        if values > MAX_VALUES:
            raise refuse("", f"has more than {MAX_VALUES} values; put them into a file")
        if isinstance(part, dict | list) and depth > MAX_DEPTH:
            raise refuse(place, f"is nested deeper than {MAX_DEPTH} levels; flatten it")
        left += [(f"{place}{name}", inner, depth + 1) for name, inner in _entries(place, part)]
    return value


def _entries(place: str, part: Any) -> list[tuple[str, Any]]:
    """What is inside a map or a list, by the rest of its path; nothing in a plain value."""
    if isinstance(part, list):
        return [(f"[{index}]", inner) for index, inner in enumerate(part)]
    if isinstance(part, dict):
        for name in part:
            if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
                raise refuse(place, f"has the key {name!r:.60}; keys are texts of 1 to {MAX_NAME} characters: put it in quotes")
        return [(f".{name}" if place else name, inner) for name, inner in part.items()]
    if isinstance(part, str) and len(part) > MAX_TEXT:
        raise refuse(place, f"is longer than {MAX_TEXT} characters; put it into a file")
    if not (part is None or isinstance(part, bool | int | float | str)) or (isinstance(part, float) and not math.isfinite(part)):
        raise refuse(
            place, f"{part!r:.60} is neither a text nor a finite number nor true, false or null; give one of those, a list or a map"
        )
    return []


ParameterValue = Annotated[Any, PlainValidator(_parameter), WithJsonSchema({"nullable": True})]


class Task(SpecModel):
    """A Task: model, data, loss and metrics in one Python class."""

    class_name: Annotated[
        str,
        StringConstraints(max_length=256, pattern=CLASS_PATTERN),
        Field(alias="class"),
    ]
    """The class, as module:Class, for example trainingjob_trainer.tasks.digits:Digits. The image must have it."""
    parameters: Annotated[dict[ParameterName, ParameterValue], Field(max_length=64)] = Field(default_factory=dict)
    """What the class is made with: by name, a text, a number, true, false or null, or lists and maps of those, 8 levels deep at most."""


class Script(SpecModel):
    """A training script of your own. It finds MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE and LOCAL_RANK as under torchrun,
    and is restarted whole when a worker is lost."""

    command: Annotated[list[CommandWord], Field(min_length=1, max_length=256)]
    """The program and its arguments, for example [python, train.py], or [torchrun, train.py]. No shell reads it. As in a container's
    command, $(NAME) is replaced by the script's environment variable NAME if there is one, and $$ by $."""


class Strategy(SpecModel):
    """How the work is spread over the training processes."""

    type: Literal["DataParallel"] = "DataParallel"
    """DataParallel: every process holds the whole model and computes on its share of each batch."""


class Split(SpecModel):
    """Which share of the data is held out."""

    model_config = rules(cel("", "self.validation + self.test < 1.0", "validation and test together must be less than 1"))

    validation: Fraction = 0.1
    """Share of the samples that measures progress while training; 0 holds none out."""
    test: Fraction = 0.1
    """Share of the samples that measures the finished model; 0 holds none out."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.validation + self.test >= 1:
            raise refuse("", f"validation ({self.validation}) and test ({self.test}) leave nothing to train on; lower one of them")
        return self


class Evaluation(SpecModel):
    """When the model is measured on the validation data."""

    every_epochs: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] = 1
    """Measure after every so many epochs."""


class EarlyStopping(SpecModel):
    """Ends the training when a validation metric no longer gets better."""

    metric: Annotated[str, StringConstraints(min_length=1, max_length=48, pattern=IDENTIFIER_PATTERN)] = "loss"
    """The metric, as the Task names it."""
    mode: Literal["Minimise", "Maximise"] = "Minimise"
    """Whether smaller or larger is better."""
    patience: Annotated[Whole, Field(ge=1, le=10**6)] = 3
    """Evaluations without an improvement before training ends."""
    minimum_delta: Annotated[Number, Field(ge=0)] = 0.0
    """A smaller change than this is no improvement."""


class Training(SpecModel):
    """What is trained and how: a task, or a script. All fields but task and script belong to tasks."""

    model_config = rules(
        cel("", "has(self.task) != has(self.script)", "exactly one of task and script is needed"),
        cel("", "!has(self.task) || has(self.epochs) != has(self.steps)", "a task needs exactly one of epochs and steps"),
        cel(
            "", "has(self.task) || !(has(self.epochs) || has(self.steps))", "epochs and steps belong to a task; a script counts for itself"
        ),
        cel(
            "microBatchSize", "!has(self.microBatchSize) || self.microBatchSize <= self.globalBatchSize", "must not exceed globalBatchSize"
        ),
        cel("lanes", "!has(self.lanes) || self.reduction == 'Deterministic'", "needs reduction: Deterministic"),
        cel("lanes", "!has(self.lanes) || self.lanes <= self.globalBatchSize", "must not exceed globalBatchSize"),
        cel("earlyStopping", "!has(self.earlyStopping) || self.split.validation > 0.0", "needs validation data: set split.validation"),
    )

    task: Task | None = None
    """A Task class; exactly one of task and script is needed."""
    script: Script | None = None
    """A script of your own; exactly one of task and script is needed."""
    strategy: Strategy = Field(default_factory=Strategy)
    """How the work is spread over the training processes."""
    optimizer: Optimizer = Field(default_factory=Optimizer)
    """How gradients change the weights."""
    schedule: Schedule = Field(default_factory=Schedule)
    """How the learning rate changes over the steps."""
    regularisation: Regularisation = Field(default_factory=Regularisation)
    """What keeps weights and gradients small, beside the optimizer's weightDecay."""
    global_batch_size: BatchSize = 64
    """Samples of one step, over all workers; a lost worker does not change it."""
    micro_batch_size: BatchSize | None = None
    """The most samples that a process computes on at once; gradients are accumulated. Default: its whole share."""
    epochs: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] | None = None
    """Passes over the training data; a task needs exactly one of epochs and steps."""
    steps: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] | None = None
    """Optimizer steps; a task needs exactly one of epochs and steps."""
    seed: Annotated[Whole, Field(ge=0, le=2**53)] = 0
    """Fixes the first weights, the order of the samples and all randomness, Python's hashes of texts included (PYTHONHASHSEED, unless
    workers.template.env sets it)."""
    reduction: Literal["Fast", "Deterministic"] = "Fast"
    """Fast: gradients are summed as is quickest, and the result's last bits depend on the number of processes.
    Deterministic: the same bits at any number of processes; slower while workers are missing."""
    lanes: Annotated[Whole, Field(ge=1, le=32768)] | None = None
    """With Deterministic, the fixed number of parts that every batch is cut into. Default: the number of processes."""
    split: Split = Field(default_factory=Split)
    """Which share of the data is held out."""
    evaluation: Evaluation = Field(default_factory=Evaluation)
    """When the model is measured on the validation data."""
    early_stopping: EarlyStopping | None = None
    """Ends the training when a validation metric no longer gets better. Default: trains to the end."""
    threads: Annotated[Whole, Field(ge=1, le=1024)] = 1
    """CPU threads of each training process. Changing it may change the result's last bits."""

    @model_validator(mode="after")
    def _is_task_or_script(self) -> Self:
        if self.task is not None and self.script is not None:
            raise refuse("", "task and script are both given; keep one of them")
        if self.task is None and self.script is None:
            raise refuse("", "neither task nor script is given; add task: {class: module:Class} or script: {command: [...]}")
        if self.script is not None:
            for name, field in type(self).model_fields.items():
                if name not in ("script", "threads") and getattr(self, name) != field.get_default(call_default_factory=True):
                    raise refuse(field.alias or name, "is used by a task only; remove it, or say it in script.command")
        elif self.epochs is not None and self.steps is not None:
            raise refuse("", f"epochs ({self.epochs}) and steps ({self.steps}) are both given; keep one of them")
        elif self.epochs is None and self.steps is None:
            raise refuse("", "neither epochs nor steps is given; add one of them")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        batch = self.global_batch_size
        if self.micro_batch_size is not None and self.micro_batch_size > batch:
            raise refuse("microBatchSize", f"{self.micro_batch_size} is more than globalBatchSize ({batch}); lower it")
        if self.lanes is not None and self.reduction != "Deterministic":
            raise refuse("lanes", "has no effect with reduction: Fast; remove it, or set reduction: Deterministic")
        if self.lanes is not None and self.lanes > batch:
            raise refuse("lanes", f"{self.lanes} is more than globalBatchSize ({batch}); lower it")
        if self.early_stopping is not None and self.split.validation == 0:
            raise refuse("earlyStopping", "needs validation data; set split.validation above 0, or remove it")
        return self
