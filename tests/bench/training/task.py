"""The workload as a Task of the product, with marks put into the product's own loop."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from torch import Tensor, nn

from bench.training.workload import CLASSES, Loaders, Marks, network, samples
from trainingjob_trainer import loop
from trainingjob_trainer.data import Batch, Rows, Splits
from trainingjob_trainer.task import Classification, TaskParameters


class Fetched(Rows):
    """Rows that other processes fetch."""

    loaders: Loaders

    def batch(self, ids: Tensor) -> Batch:
        inputs, targets = self.loaders.fetch(ids)
        return {"inputs": inputs, "targets": targets}


def _rows(inputs: Tensor, targets: Tensor, loaders: Loaders | None) -> Rows:
    if loaders is None:
        return Rows(inputs=inputs, targets=targets)
    fetched = Fetched(inputs=inputs, targets=targets)
    fetched.loaders = loaders
    return fetched


class Workload(Classification):
    """The network over the samples; `width`, `layers`, `samples` as above."""

    class Parameters(TaskParameters):
        width: int = Field(ge=1)
        layers: int = Field(ge=1)
        samples: int = Field(ge=1)
        loaders: int = Field(0, ge=0)
        marks: str

    parameters: Parameters
    classes = tuple(str(number) for number in range(CLASSES))
    _marks: Marks

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        self._marks = Marks(Path(self.parameters.marks))
        self._watch()
        inputs, targets = samples(self.parameters.samples, self.parameters.width)
        loaders = Loaders(self.parameters.loaders, inputs, targets) if self.parameters.loaders else None
        rows, none = _rows(inputs, targets, loaders), Rows(inputs=inputs[:0], targets=targets[:0])
        return Splits(rows, none, none)

    def model(self) -> nn.Module:
        return network(self.parameters.width, self.parameters.layers)

    def _watch(self) -> None:
        """Put a mark into the loop's own step and snapshot: a task is not told the number of the step."""
        step, snapshot, marks = loop._step, loop.snapshot, self._marks

        def marked_step(run: loop.Run):
            marks.put("begin", run.session.state.step, run.generation.id.n)
            if run.arena.rests():
                marks.put("quiet", run.session.state.step)
            return step(run)

        def marked_snapshot(run: loop.Run) -> None:
            with marks.save(run.session.state.step):
                snapshot(run)

        loop._step, loop.snapshot = marked_step, marked_snapshot
