"""Where a training process is right now, as its agent reads it from the stamp page and from the process's last words. Pure.

The rendezvous learns from these who waits for whom, while every agent is heard and no step is finished.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from trainingjob_api.contract.base import Phase, Record
from trainingjob_api.contract.ids import GenerationId


class Activity(StrEnum):
    """What a process does while it is in no collective."""

    COMPUTING = "Computing"
    LOADING = "Loading"
    """It waits for the samples of a batch: the dataset's own code."""


class MemberStamp(Record):
    """One training process's stamp."""

    process: int
    """Its number in the worker."""
    life: int
    generation: GenerationId | None = None
    step: int | None = None
    """Finished steps."""
    phase: Phase
    activity: str = ""
    """One of Activity; a plain string so that a newer agent's word passes."""
    calling: str = Field(default="", max_length=64)
    """While it waits in a collective of the task's own code: its name, and which call of the step (from 1), such as `all_reduce 2`."""
    entered: int = 0
    """Collectives entered in this generation."""
    left: int = 0
    """Collectives left: one less than `entered` while inside one."""
    still_seconds: float = 0.0
    """Seconds since the stamp changed."""
    step_seconds: float = 0.0
    """Median length of its recent steps, in seconds; 0: none is finished yet."""
    stopped: bool = False
    """It is stopped by a signal."""
    cut_off: tuple[int, ...] = Field(default=(), max_length=512)
    """Workers whose connection to this process stands still: what was sent to them is not acknowledged, or they do not answer."""
    quiet_seconds: float = 0.0
    """Seconds for which it has waited in a collective, had the processor, and seen no byte move on the group's connections."""
    watched: bool = False
    """It looks at these connections: `quiet_seconds` of 0 means that bytes move."""

    def waits(self) -> bool:
        """It is inside a collective."""
        return self.entered > self.left
