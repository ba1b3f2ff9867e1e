"""Whose doing an exception is, and in which words it is told. Pure.

What the user's code does wrong for certain is a `UserMistake`: the job ends at once, and nothing is tried again. What the machine or the
network may have done is tried again.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from trainingjob_api.contract.channel import Raised

ENVIRONMENT = (OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, dist.DistError)
"""Files, network, memory, devices, peers: another try may fare better."""
CERTAIN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What is the code's own doing while data and model are made; a RuntimeError may come of a file that another process still writes."""
FIELD = "spec.training.task"
_LONGEST_WORDS = 120
_LONGEST_SENTENCE = 400
_OF_THE_MACHINE = re.compile(
    r"can't allocate|out of memory|unable to mmap|shared memory|\bCUDA\b|cuDNN|CUBLAS|NCCL|gloo|DataLoader worker|Connection|[Tt]imed out"
)
"""Words of a RuntimeError that torch raises for what the machine did."""


_calls: set[CodeType] = set()
_making: set[CodeType] = set()
_Call = TypeVar("_Call", bound=Callable[..., Any])


class UserMistake(ValueError):
    """The manifest or the user's code cannot work as it is; the message names the field and the fix."""


def calls_the_task(function: _Call) -> _Call:
    """Mark a function of the product that calls the task: what is raised below it is the task's doing."""
    _calls.add(inspect.unwrap(function).__code__)
    return function


def makes_data_or_model(function: _Call) -> _Call:
    """Mark one that calls the task for its data or model, which may depend on files."""
    _making.add(inspect.unwrap(function).__code__)
    return calls_the_task(function)


@contextmanager
def user_code(field: str, task: str = "") -> Iterator[None]:
    """Around the user's code where a ValueError means that the manifest does not fit it.

    Args:
        field: the manifest's, for messages that name none.
        task: as for `blame`: the place in the user's code is added to such a message.
    """
    try:
        yield
    except UserMistake:
        raise
    except ValueError as error:
        text = str(error)
        raise UserMistake(text if text.startswith("spec.") else f"{field}: {text}{_place_in(error, task) or _during(error)}") from error


def place_of(function: Callable[..., Any]) -> str:
    """Return "Class.method (file:line)" of a function of the user's, "Class.method" where it has no source."""
    inner = inspect.unwrap(getattr(function, "__func__", function))
    name = str(getattr(inner, "__qualname__", getattr(function, "__name__", "it"))).replace("<locals>.", "")
    code = getattr(inner, "__code__", None)
    return f"{name} ({Path(code.co_filename).name}:{code.co_firstlineno})" if isinstance(code, CodeType) else name


def _place_in(error: BaseException, task: str) -> str:
    """Where the user's code raised, " (file:line, in function)"; "" if it did not."""
    own = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_of(frame, task)]
    return f" ({Path(own[-1][0].f_code.co_filename).name}:{own[-1][1]}, in {own[-1][0].f_code.co_name})" if own else ""


def blame(error: BaseException, task: str, data: CodeType | None = None) -> Raised:
    """What to tell of an exception that ends this process.

    One that the user's code raises at the same place again and again will be raised for ever: the operator ends such a job. What the
    machine or the network may have done is tried again, and named without blame.

    Args:
        error: with its traceback.
        task: the module of the task's class; what is under the same top-level package is the user's code.
        data: the function that reads samples: what is raised below it concerns them.
    """
    words = " ".join(str(error).split())
    name = type(error).__name__
    message = f"{name}: {words[:_LONGEST_WORDS]}" if words else name
    samples = data is not None and any(frame.f_code is data for frame, _ in traceback.walk_tb(error.__traceback__))
    place = _place_in(error, task)
    file = place[2 : place.index(",")] if place else ""
    return Raised(message=message + place, where=f"{file} {name}" if file and not _is_of_the_machine(error) else "", samples=samples)


def first_mistake(error: Exception, task: str) -> UserMistake | None:
    """Return an exception that the task raised before the first step as the user's mistake; None if another try may fare better.

    Args:
        error: with its traceback: only what is raised below a function that calls the task, or in a backward pass, is the task's.
        task: as for `blame`.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    called = [frame.f_code for frame in frames if frame.f_code in _calls]
    backward = bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("torch.autograd")
    if _is_of_the_machine(error) or not (called or backward):
        return None
    if called and called[-1] in _making and not isinstance(error, CERTAIN):
        return None
    words = " ".join(str(error).split())[:_LONGEST_SENTENCE]
    place = _place_in(error, task) or _during(error) or ", in the backward pass of the loss"
    return UserMistake(f"{FIELD}: {type(error).__name__}{f': {words}' if words else ''}{place}; mend it")


def ended_by_itself(ending: SystemExit, task: str) -> UserMistake:
    """Return what to tell of a task that ends its process."""
    return UserMistake(
        f"{FIELD}: the task's code ends its process with sys.exit({ending.code!r}){_place_in(ending, task)}; take that call out"
    )


def _during(error: BaseException) -> str:
    """Which of the task's methods was called, ", in Class.method (file:line)"; the functions that call it keep it in a variable."""
    methods = [frame.f_locals.get("method") for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code in _calls]
    return f", in {place_of(methods[-1])}" if methods and callable(methods[-1]) else ""


def _is_of_the_machine(error: BaseException) -> bool:
    return isinstance(error, ENVIRONMENT) or (isinstance(error, RuntimeError) and bool(_OF_THE_MACHINE.search(str(error))))


def _is_of(frame: FrameType, task: str) -> bool:
    own = task.rpartition(".")[0] if task.startswith("trainingjob_trainer.") else task.partition(".")[0]
    name = str(frame.f_globals.get("__name__", ""))
    return bool(own) and (name == own or name.startswith(f"{own}."))
