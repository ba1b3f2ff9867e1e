"""Which agent pins the checkpoint that a rollback waits for, and what it has answered. Pure.

The log takes one pin, whoever appends it: another agent may be asked at any time, and repeating it is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainingjob_api.contract.messages import Generation, Keep, LogPosition
from trainingjob_rendezvous.quorum.members import Agent, AgentId


def keeper(agents: Mapping[AgentId, Agent], generation: Generation | None) -> AgentId | None:
    """Return the agent to ask: that of the lowest rank, or any, of those that are connected and new enough; None: there is none."""
    seated = [] if generation is None else [AgentId(seat.member.worker, seat.member.incarnation) for seat in generation.seats]
    return next((agent for agent in [*seated, *sorted(agents)] if agent in agents and agents[agent].keeps), None)


def is_obeyed(agents: Mapping[AgentId, Agent]) -> bool:
    """Return whether a checkpoint is kept when the operator asks for it, now or as soon as somebody is connected."""
    return not agents or any(agent.keeps for agent in agents.values())


def with_answer(log: LogPosition, known: LogPosition | None, heard: LogPosition, keep: Keep | None) -> LogPosition:
    """Return the merged position `log` with the answer to `keep`: what was heard of it last, else what was known."""
    answer = heard if known is None or (keep is not None and heard.asked == keep) else known
    return log.model_copy(update={"asked": answer.asked, "found": answer.found})
