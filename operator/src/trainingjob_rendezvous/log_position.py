"""What an agent's position in the job's log says of the attempt that it was to open. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from trainingjob_api.contract.messages import Generation, LogPosition, Phase
from trainingjob_rendezvous.quorum.members import Member


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
