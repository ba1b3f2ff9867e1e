"""Transport and data that leave word in the stamp page when this process waits for them. Effects: the stamp page.

A hung job's culprit is who has not entered what the others wait in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from trainingjob_agent.stamp import StampWriter
from trainingjob_api.contract.messages import Generation
from trainingjob_api.contract.stamps import Activity
from trainingjob_trainer.data import Batch, Dataset
from trainingjob_trainer.transport.port import Forming, Pending, Transport


class WatchedData:
    """A dataset whose loading of a batch is stamped: the others may wait for it."""

    def __init__(self, inner: Dataset, stamp: StampWriter) -> None:
        self.watched = inner
        self._stamp = stamp

    def __len__(self) -> int:
        """Samples."""
        return len(self.watched)

    def batch(self, ids: Tensor) -> Batch:
        """The samples of these ids, collated."""
        self._stamp.act(Activity.LOADING)
        try:
            return self.watched.batch(ids)
        finally:
            self._stamp.act(Activity.COMPUTING)


class WatchedTransport:
    """See transport.port.Transport; all is done by `inner`."""

    def __init__(self, inner: Transport, stamp: StampWriter) -> None:
        self._inner = inner
        self._stamp = stamp
        self.calling = ""

    @property
    def forming(self) -> Forming:
        """How far the group is."""
        return self._inner.forming

    def form(self, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        """Begin to form the generation's group."""
        self._inner.form(generation, rank, ended)

    def interrupt(self) -> None:
        """Cut this generation's connections."""
        self._inner.interrupt()

    def retire(self) -> None:
        """Leave in order."""
        self._inner.retire()

    def all_reduce(self, tensor: Tensor) -> Pending:
        """Sum over ranks, in place."""
        return self._inner.all_reduce(tensor)

    def all_gather(self, output: Tensor, tensor: Tensor) -> Pending:
        """Every rank's tensor."""
        return self._inner.all_gather(output, tensor)

    def broadcast(self, tensor: Tensor, root: int) -> Pending:
        """Rank `root`'s tensor for all."""
        return self._inner.broadcast(tensor, root)

    def group(self) -> Any:
        """torch's process group of this generation."""
        return self._inner.group()

    def settle(self, works: Sequence[Pending]) -> bool:
        """Wait for all, stamped."""
        self._stamp.enter(self.calling)
        good = self._inner.settle(works)
        self._stamp.leave()
        return good
