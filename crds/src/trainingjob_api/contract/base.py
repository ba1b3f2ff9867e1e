"""What every message of the contract is made of: its base, and the phases of training processes. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen message. Unknown fields are ignored: a newer peer may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, ser_json_inf_nan="null")


class Phase(StrEnum):
    """Where a training process is. Each phase has its own limit of time, so that slow is not taken for hung."""

    STARTING = "Starting"
    """Importing, building the model; not a member yet."""
    IDLE = "Idle"
    """Ready for a generation; holds `state`, or none."""
    FORMED = "Formed"
    """Its process group of `generation` stands; waits for Running."""
    RESTORING = "Restoring"
    """In a running generation: reading the checkpoint, or copying the state of a peer."""
    STEPPING = "Stepping"
    EVALUATING = "Evaluating"
    FINISHING = "Finishing"
    """The last step is done: saving, exporting, waiting for the `done` entry."""
    GONE = "Gone"
    """The process has ended; `failure` says how if it was not in order."""

    def running(self) -> bool:
        """In a generation that takes steps."""
        return self in (Phase.RESTORING, Phase.STEPPING, Phase.EVALUATING, Phase.FINISHING)
