"""What agents say of the job's log, merged into one position. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from trainingjob_api.contract.messages import Generation, LogPosition, Phase
from trainingjob_rendezvous.quorum.members import Member


def merge(known: LogPosition | None, heard: LogPosition) -> LogPosition:
    """The newest of both: the higher seq wins. What only the opener of an attempt knows is kept with it."""
    if known is None:
        return heard
    newer, older = (heard, known) if heard.seq >= known.seq else (known, heard)
    if newer.opened_attempt >= older.opened_attempt:
        return newer
    opening = ("opened_attempt", "restored_step", "request", "missing_request")
    return newer.model_copy(update={name: getattr(older, name) for name in opening})


def refuses_to_open(generation: Generation, members: Iterable[Member], heard: LogPosition) -> bool:
    """Rank 0's agent says that it could not open the generation's attempt, because the log holds it already.

    Only while rank 0 waits for it: once it goes on, its agent has opened the attempt.
    """
    if generation.source.kind != "Storage" or heard.attempt < generation.id.attempt or heard.opened_attempt >= generation.id.attempt:
        return False
    return any(
        member.id == generation.seats[0].member and member.phase is Phase.RESTORING and member.generation == generation.id
        for member in members
    )
