"""The failures this rendezvous has seen: the newest ones, and how many. Each life of a process fails once. No clock, no network."""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob_api.contract.messages import Failure, FailureCause, MemberId, Phase
from trainingjob_rendezvous.quorum.members import Member
from trainingjob_rendezvous.quorum.waits import workers

KEPT = 20
"""Failures in a report."""
REMEMBERED = 4096
"""Lives that are not counted twice: a report is sent again with every connection."""
GUESSES = (FailureCause.LOST, FailureCause.SILENT)
"""What is only inferred from a connection; what is seen of the process itself is better."""
_LONGEST = 1024


def with_leavers(failure: Failure, members: Sequence[Member]) -> Failure:
    """A script's failure, with the workers whose script had ended with 0 by then: who waits for them fails for no reason of its own."""
    if failure.phase != Phase.STEPPING or failure.step is not None:  # a Task's processes know the step
        return failure
    early = [member for member in members if member.phase is Phase.FINISHING and member.generation == failure.generation]
    if not early:
        return failure
    # It stands first: a status has room for the beginning of a message only.
    return failure.model_copy(update={"message": f"after {workers(early)} had ended with 0: {failure.message}"[:_LONGEST]})


class Failures:
    """Failures by the life that failed, oldest first."""

    def __init__(self) -> None:
        self.count = 0
        self._by_member: dict[MemberId, Failure] = {}

    def add(self, failure: Failure) -> bool:
        """Record a failure; returns False if this life's failure was known, or better known."""
        known = self._by_member.get(failure.member)
        if known is not None and (known.cause not in GUESSES or failure.cause in GUESSES):
            return False
        if known is None:
            self.count += 1
        self._by_member[failure.member] = failure.model_copy(
            update={"message": failure.message[:1024], "cause": failure.cause[:64], "phase": failure.phase[:64]}
        )
        while len(self._by_member) > REMEMBERED:
            del self._by_member[next(iter(self._by_member))]
        return True

    def newest(self) -> tuple[Failure, ...]:
        """The newest failures, oldest first."""
        return tuple(list(self._by_member.values())[-KEPT:])
