"""What names a generation and a training process in every message. Pure."""

from __future__ import annotations

from typing import NamedTuple


class GenerationId(NamedTuple):
    """(attempt, epoch, n): compared in that order; each only grows in a job's life."""

    attempt: int
    epoch: int
    n: int

    def label(self) -> str:
        """A name for storage keys and store prefixes: a2e1n7."""
        return f"a{self.attempt}e{self.epoch}n{self.n}"


class MemberId(NamedTuple):
    """One training process: which worker, which pod of it, which process in it, which life of that process."""

    worker: int
    incarnation: int
    process: int
    life: int

    def label(self) -> str:
        """A name for people and logs: worker 1.0 process 0 life 2 is 1.0/0.2."""
        return f"{self.worker}.{self.incarnation}/{self.process}.{self.life}"
