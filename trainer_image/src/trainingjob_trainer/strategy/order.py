"""Which samples a step computes: a function of the seed, the data's length and the step. Pure but for one kept permutation."""

from __future__ import annotations

from torch import Tensor

from trainingjob_trainer.randomness import permutation


class SampleOrder:
    """The training samples in the order they are used. The last batch of an epoch holds what is left; no sample is dropped or repeated.

    Args:
        length: training samples.
        batch: the global batch size.
        seed: the job's.

    Raises:
        ValueError: there is nothing to train on.
    """

    def __init__(self, length: int, batch: int, seed: int) -> None:
        if length < 1:
            raise ValueError("spec.training.task.class: the task has no training samples; check its data and training.split")
        self._length = length
        self._batch = batch
        self._seed = seed
        self._kept: tuple[int, Tensor] | None = None
        self.steps_per_epoch = -(-length // batch)

    def place(self, step: int) -> tuple[int, int]:
        """(epoch of data, step within it) of the step that follows `step` finished ones."""
        return divmod(step, self.steps_per_epoch)

    def batch(self, step: int) -> Tensor:
        """The sample ids of the step that follows `step` finished ones."""
        epoch, within = self.place(step)
        if self._kept is None or self._kept[0] != epoch:
            self._kept = (epoch, permutation(self._seed, epoch, self._length))
        return self._kept[1][within * self._batch : (within + 1) * self._batch]

    def smallest_batch(self) -> int:
        """Samples of the smallest batch of an epoch, its last."""
        return self._length % self._batch or self._batch

    def samples(self, step: int) -> int:
        """Samples that have contributed after `step` finished steps."""
        epoch, within = self.place(step)
        return epoch * self._length + min(within * self._batch, self._length)
