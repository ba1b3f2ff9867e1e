"""How the ranks' contributions become one sum. Effects: collectives of the transport.

Two ways behind one interface. Fast: one lane a rank, all_reduce. Deterministic: every lane's contribution is kept apart, all
ranks get all of them, and each adds them up in the same fixed tree, so that the bits do not depend on who computed what.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from trainingjob_trainer.strategy.lanes import lanes_of, row_of_lane, rows_per_rank
from trainingjob_trainer.transport.port import Pending, Transport


class Reduction(Protocol):
    """One tensor's way from lanes to a sum over all of them. One object a tensor and generation."""

    def put(self, row: int) -> None:
        """The tensor now holds the whole contribution of this rank's lane number `row`."""
        ...

    def launch(self) -> Pending:
        """All lanes of this rank are in: begin."""
        ...

    def take(self) -> None:
        """After the transport settled: the tensor holds the sum over all lanes."""
        ...

    def total(self, columns: int) -> Tensor:
        """After the transport settled, before take: the sum over all *ranks* of the first elements of their row 0."""
        ...


class Fast:
    """Sums over ranks as is quickest."""

    def __init__(self, tensor: Tensor, transport: Transport) -> None:
        self._tensor = tensor
        self._transport = transport

    def put(self, row: int) -> None:
        """Nothing to do: the rank's only lane."""
        assert row == 0

    def launch(self) -> Pending:
        """All-reduce in place."""
        return self._transport.all_reduce(self._tensor)

    def take(self) -> None:
        """The sum is in place."""

    def total(self, columns: int) -> Tensor:
        """The sum's first elements."""
        return self._tensor[:columns]


class Deterministic:
    """Gathers all lanes and adds them pairwise: neighbours first, then neighbours of those."""

    def __init__(self, tensor: Tensor, transport: Transport, rank: int, world: int, lanes: int) -> None:
        self._tensor = tensor
        self._transport = transport
        self._world = world
        self._height = rows_per_rank(world, lanes)
        self._own = len(lanes_of(rank, world, lanes))
        self._order = torch.tensor(row_of_lane(world, lanes), device=tensor.device)
        self._rows = tensor.new_zeros(self._height, tensor.numel())
        self._all = tensor.new_zeros(world * self._height, tensor.numel())

    def put(self, row: int) -> None:
        """Keep the lane's contribution in its row. A rank without lanes has row 0 for what is counted by ranks."""
        self._rows[row].copy_(self._tensor)

    def launch(self) -> Pending:
        """Gather everybody's rows."""
        return self._transport.all_gather(self._all, self._rows)

    def take(self) -> None:
        """Add the lanes up."""
        self._tensor.copy_(tree_sum(self._all[self._order]))

    def total(self, columns: int) -> Tensor:
        """By ranks, rows without a lane included."""
        return self._all[:: self._height, :columns].sum(0)


def tree_sum(rows: Tensor) -> Tensor:
    """The sum over the first dimension, pairwise by index: (0+1)+(2+3)… An odd last one goes up as it is."""
    while len(rows) > 1:
        even = len(rows) // 2 * 2
        rows = torch.cat([rows[0:even:2] + rows[1:even:2], rows[even:]])
    return rows[0]
