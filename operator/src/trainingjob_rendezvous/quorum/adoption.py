"""Which running generation a restarted rendezvous may take over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trainingjob_api.contract.messages import Generation, Orders, Stage
from trainingjob_rendezvous.quorum.members import AgentId, Member, by_id

Claims = Mapping[AgentId, Orders | None]
"""What each connected agent says it was last told."""


def newest_claimed(claims: Claims) -> Generation | None:
    """The newest generation that any agent names."""
    named = [orders.generation for orders in claims.values() if orders is not None and orders.generation is not None]
    return max(named, key=lambda generation: generation.id, default=None)


def adoptable(claims: Claims, members: Sequence[Member]) -> Generation | None:
    """The newest generation, if every one of its members is here, in it, and names it, and one was told that it runs.

    Running is only ever said when all have formed, so one agent that heard it speaks for those who had not yet.
    """
    generation = newest_claimed(claims)
    if generation is None or not generation.seats:
        return None
    present = by_id(members)
    stages: list[Stage] = []
    for seat in generation.seats:
        member = present.get(seat.member)
        orders = claims.get(AgentId(seat.member.worker, seat.member.incarnation))
        if member is None or not member.within(generation.id) or orders is None:
            return None
        if orders.generation is None or orders.generation.id != generation.id:
            return None
        stages.append(orders.stage)
    return generation if Stage.RUNNING in stages and Stage.OVER not in stages else None


def ran(told: Iterable[Orders | None]) -> Generation | None:
    """The newest generation that any agent was told to take steps in."""
    generations = [
        orders.generation
        for orders in told
        if orders is not None
        and orders.generation is not None
        and orders.stage is not Stage.PROPOSED
        and orders.generation.purpose == "Train"
    ]
    return max(generations, key=lambda generation: generation.id, default=None)
