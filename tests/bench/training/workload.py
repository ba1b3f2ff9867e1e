"""What both sides train: made data, a perceptron as large as wanted, AdamW. Nothing of the product is imported: a peer is to start quickly.

Both sides stamp the beginning of every step into a file of their process (`Marks`), by the machine's one monotonic clock. A step has ended
when the next one of its process begins, and so everything that a loop does between steps is in the figures.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10
OPTIMIZER = {"lr": 0.001, "weight_decay": 0.01}
"""AdamW's arguments at the peers; the product's manifest says the same. torch updates one parameter after the other then, which is quicker
here than `foreach=True`: the caches hold one of these parameters, and not all."""


@dataclass(frozen=True)
class Mark:
    """One line of a process's file."""

    at: float
    """Seconds, monotonic."""
    what: str
    """`begin`: of step number `step` (from 0; those before it are finished), in group number `value`.
    `quiet`: as step `step` begins, no checkpoint is on its way to storage.
    `save`: the loop goes on after having waited `value` seconds for the checkpoint of step `step`."""
    step: int
    value: float


class Marks:
    """A process's file of marks."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"{os.getpid()}.marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def put(self, what: str, step: int, value: float = 0.0) -> None:
        """Stamp it now; a few microseconds."""
        os.write(self._file, f"{time.monotonic()} {what} {step} {value}\n".encode())

    @contextmanager
    def save(self, step: int) -> Iterator[None]:
        """Around what the loop waits for."""
        began = time.monotonic()
        yield
        self.put("save", step, time.monotonic() - began)


def marks(folder: Path, newest: int | None = None) -> dict[int, list[Mark]]:
    """Process id -> its marks so far; with `newest`, only those in about so many bytes at the end."""
    return {int(path.stem): _read(path, newest) for path in folder.glob("*.marks")}


def _read(path: Path, newest: int | None) -> list[Mark]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        begin = 0 if newest is None else max(0, size - newest)
        file.seek(begin)
        lines = file.read().decode().split("\n")[1 if begin else 0 : -1]
    words = [line.split() for line in lines]
    return [Mark(float(at), what, int(step), float(value)) for at, what, step, value in words]


def begins(found: list[Mark]) -> dict[int, float]:
    """Step -> when it began, of one process that repeated none."""
    return {mark.step: mark.at for mark in found if mark.what == "begin"}


def network(width: int, layers: int) -> nn.Module:
    """`layers` square layers and a small last one."""
    hidden = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, CLASSES))


def samples(count: int, width: int) -> tuple[Tensor, Tensor]:
    """Inputs (count, width) and classes (count)."""
    random = torch.Generator().manual_seed(7)
    return torch.randn(count, width, generator=random), torch.randint(CLASSES, (count,), generator=random)


class Loaders:
    """Processes that fetch a training process's batches, as a DataLoader's workers do.

    Like those they hold its output open, and look every five seconds whether it still lives (torch's MP_STATUS_CHECK_INTERVAL).
    """

    def __init__(self, count: int, inputs: Tensor, targets: Tensor) -> None:
        shared = (os.getpid(), inputs.numpy(), targets.numpy())
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _begin, shared)
        self.fetch(torch.arange(1))  # the processes are forked now, before there are threads

    def fetch(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of these samples."""
        inputs, targets = self._pool.submit(_fetch, ids.tolist()).result()
        return torch.from_numpy(inputs), torch.from_numpy(targets)


_samples: tuple[Any, Any]
"""Of a loader process: inputs and targets, as arrays."""


def _begin(parent: int, inputs: Any, targets: Any) -> None:
    global _samples
    _samples = inputs, targets
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(5.0)
    os._exit(1)


def _fetch(ids: list[int]) -> tuple[Any, Any]:
    return _samples[0][ids], _samples[1][ids]
