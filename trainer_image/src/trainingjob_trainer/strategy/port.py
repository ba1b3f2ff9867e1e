"""What the loop asks of a strategy. Pure: types only.

A strategy computes a step over the global batch and says what all ranks do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trainingjob_trainer.data import Dataset
from trainingjob_trainer.strategy.control import Decision, Flags


@dataclass(frozen=True)
class Outcome:
    """A finished step."""

    decision: Decision
    """What all ranks do next."""
    loss: float
    """Mean over the global batch."""
    samples: int
    """Of the global batch."""
    updated: bool = True
    """False: the loss or a gradient was not finite, and the weights were left as they were."""


class Strategy(Protocol):
    """The work of one rank, together with the others."""

    def start(self, rank: int, world: int, lanes: int, names: Sequence[str] = ()) -> None:
        """A generation has been formed, and all its ranks hold one state.

        Args:
            rank: of this process.
            world: number of ranks.
            lanes: used with reduction Deterministic.
            names: of the ranks, for messages.
        """
        ...

    def step(self, flags: Flags) -> Outcome:
        """One optimizer step over one global batch.

        Raises:
            Interrupted: a peer is lost; the state is that of before the step.
            UserMistake: the model cannot be trained like this.
        """
        ...

    def verify(self) -> None:
        """Compare the ranks' weights before they are saved, in part.

        Raises:
            Interrupted: a peer is lost.
            UserMistake: they differ.
        """
        ...

    def evaluate(self, dataset: Dataset) -> dict[str, float]:
        """The metrics over a dataset, each sample counted once; the same at every rank.

        Raises:
            Interrupted: a peer is lost.
        """
        ...

    def agree(self, value: int) -> int:
        """Rank 0's value.

        Raises:
            Interrupted: a peer is lost.
        """
        ...
