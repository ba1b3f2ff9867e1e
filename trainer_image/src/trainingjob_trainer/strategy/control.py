"""The control word: what the ranks tell each other with every step, and what follows from it. Pure.

Every rank adds its flags to the step's last reduction; what the sum of step k says, all do after step k. So all planned
things happen at the same step everywhere, and nothing but a death aborts a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from enum import IntEnum

from trainingjob_api.contract.messages import Orders


@dataclass(frozen=True)
class Flags:
    """One rank's wishes. The order of the fields is their place in the word."""

    regroup: bool = False
    """A newer generation is wanted: a newcomer waits, somebody leaves, or the job is to go back."""
    stop: bool = False
    """The job is to end."""
    stop_unsaved: bool = False
    """…and nothing is to be saved before it does."""
    save: bool = False
    """A checkpoint is wanted now."""
    no_room: bool = False
    """No snapshot buffer is free here: storage has not taken the snapshots before."""


WIDTH = len(fields(Flags))
"""Floats of the word."""


class Next(IntEnum):
    """What all do after the step, beside saving. What is greater goes before what is less."""

    GO_ON = 0
    STOP = 1
    """Save if wanted, wait for the commit, and be idle."""
    REGROUP = 2
    """Leave the loop and be idle."""


@dataclass(frozen=True)
class Decision:
    """What the sum says."""

    then: Next = Next.GO_ON
    save: bool = False
    room: bool = True
    """Every rank has a free snapshot buffer. Without it no rank saves after this step: the save would lack a shard, and a rank that
    waited for a buffer would hold up all steps."""


def flags_from(orders: Orders | None, *, save: bool, room: bool = True) -> Flags:
    """Return a rank's flags: its newest orders, whether it wants a checkpoint, and whether it has room for a snapshot."""
    if orders is None:
        return Flags(save=save, no_room=not room)
    stop = orders.stop
    return Flags(
        regroup=orders.regroup,
        stop=stop is not None,
        stop_unsaved=stop is not None and not stop.save,
        save=save,
        no_room=not room,
    )


def encode(flags: Flags) -> list[float]:
    """The word that is added up."""
    return [float(flag) for flag in astuple(flags)]


def decode(total: Sequence[float]) -> Decision:
    """What the sum of all ranks' words means.

    Regrouping goes before stopping, since the job may be about to go back, and a stop is repeated by the orders of the
    next generation; a save asked for meanwhile is taken along, since it costs the loop only a copy.
    """
    flags = Flags(*(value > 0.5 for value in total))
    room = not flags.no_room
    if flags.regroup:
        return Decision(Next.REGROUP, flags.save, room)
    if flags.stop:
        return Decision(Next.STOP, not flags.stop_unsaved, room)
    return Decision(Next.GO_ON, flags.save, room)
