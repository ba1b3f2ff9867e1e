"""What the rest asks of a transport. Pure: types only.

A transport carries one generation's group at a time. It is formed in a side thread that can be abandoned, and cut from any
thread; nothing it does raises for a lost peer: `settle` gives the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol

from torch import Tensor

from trainingjob_api.contract.messages import Generation


class Interrupted(Exception):
    """A collective did not finish: a peer is lost, or the generation is over."""


class Forming(Enum):
    """How far the group of the newest generation is."""

    NOTHING = "nothing"
    PENDING = "pending"
    FORMED = "formed"
    FAILED = "failed"


class Pending(Protocol):
    """A collective under way."""

    def wait(self, timeout: timedelta) -> bool:
        """Wait for its end. Raises RuntimeError if it failed, or has not ended in time."""
        ...

    def is_completed(self) -> bool:
        """It has ended, well or badly."""
        ...


class NeverBegan:
    """A collective that could not even begin."""

    def wait(self, timeout: timedelta) -> bool:
        """Raises."""
        raise RuntimeError("the group is gone")

    def is_completed(self) -> bool:
        """It has ended before it began."""
        return True


class Transport(Protocol):
    """Collectives among the ranks of a generation. Results are there after `settle` said yes, not before."""

    calling: str
    """The collective of the task's own code that is waited for, for whoever watches; "": there is none."""

    @property
    def forming(self) -> Forming:
        """How far the group is."""
        ...

    def form(self, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        """Begin to form the generation's group; returns at once. `ended` is called in the side thread when `forming` has changed."""
        ...

    def interrupt(self) -> None:
        """Any thread: cut this generation's connections, so that who waits in a collective, here or there, is free."""
        ...

    def retire(self) -> None:
        """Leave in order, after a step that all ranks have finished: peers that are still reading from us are not disturbed."""
        ...

    def all_reduce(self, tensor: Tensor) -> Pending:
        """Sum over ranks, in place."""
        ...

    def all_gather(self, output: Tensor, tensor: Tensor) -> Pending:
        """`output` (world * len(tensor) rows) gets every rank's `tensor`, in rank order."""
        ...

    def broadcast(self, tensor: Tensor, root: int) -> Pending:
        """Rank `root`'s tensor for all, in place."""
        ...

    def group(self) -> Any:
        """torch's process group of this generation, for collectives that this port does not have; None if there is none any more.
        Their results are there, as all others', after `settle` said yes."""
        ...

    def settle(self, works: Sequence[Pending]) -> bool:
        """Wait until all have ended; the verdict is on the host. False: at least one failed, the connections are cut, and
        no memory given to any of them is written any more."""
        ...
