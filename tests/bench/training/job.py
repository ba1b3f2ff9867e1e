"""Our side: a job of the real command on this machine, whose processes stamp their steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.training.workload import OPTIMIZER, Mark, marks
from local_job import ROOT, LocalJob, Run

TAIL = 16384
"""Bytes of marks that are read when a measurement waits for a step: looking on must not cost what is measured."""


@dataclass(frozen=True)
class Size:
    """Of a workload."""

    width: int
    layers: int
    batch: int
    """Samples of one step over all processes."""
    samples: int = 4096
    loaders: int = 0
    """Processes beside each training process that fetch its batches."""


class BenchJob(LocalJob):
    """A job that trains bench.training.task, with one thread a process.

    Args:
        folder: its own; not there yet.
        size: of the workload.
        workers: how many; one less are enough to go on.
        steps: until it ends by itself.
        save_every: steps between two checkpoints.
    """

    def __init__(self, folder: Path, size: Size, workers: int, steps: int, save_every: int) -> None:
        self.marks = folder / "marks"
        self.marks.mkdir(parents=True)
        super().__init__(folder, _manifest(self.marks, size, workers, steps, save_every))

    def environment(self) -> dict[str, str]:
        """With the tests' folder on the path of Python: the workload is there."""
        return {**super().environment(), "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}

    @contextmanager
    def training(self, step: int = 1, seconds: float = 60.0) -> Iterator[Run]:
        """It runs, and step `step` has begun."""
        with self.running() as run:
            run.until(f"step {step} begins", lambda: self.begun() >= step, seconds)
            yield run

    def finishes(self, seconds: float) -> None:
        """It is run, and ends well within so many seconds."""
        ended = self.run(seconds=seconds)
        assert ended.returncode == 0, ended.stdout[-4000:]

    def seen(self, newest: int | None = None) -> dict[int, list[Mark]]:
        """Process id -> its marks; with `newest`, those in so many bytes at the end."""
        return marks(self.marks, newest)

    def begun(self) -> int:
        """The newest step of any process."""
        return max((found[-1].step for found in self.seen(TAIL).values() if found), default=-1)


def _manifest(folder: Path, size: Size, workers: int, steps: int, save_every: int) -> dict[str, Any]:
    parameters = {"width": size.width, "layers": size.layers, "samples": size.samples, "loaders": size.loaders, "marks": str(folder)}
    return {
        "apiVersion": "batch.trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "bench"},
        "spec": {
            "workers": {"replicas": workers, "minReplicas": max(1, workers - 1)},
            "training": {
                "task": {"class": "bench.training.task:Workload", "parameters": parameters},
                "optimizer": {"name": "AdamW", "learningRate": OPTIMIZER["lr"], "weightDecay": OPTIMIZER["weight_decay"]},
                "globalBatchSize": size.batch,
                "steps": steps,
                "split": {"validation": 0.0, "test": 0.0},
                "threads": 1,
            },
            "checkpoint": {"storage": {"uri": "file:///here"}, "everySteps": save_every, "keep": 2},
            "recovery": {"maxFailures": 1000},
        },
    }
