"""Which agents may join. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.messages import Generation, Hello
from trainingjob_api.contract.runtime import CONTRACT_VERSION, OLDEST_CONTRACT
from trainingjob_rendezvous.quorum.members import AgentId
from trainingjob_rendezvous.quorum.seats import unit_size

UNLISTED_SECONDS = 10.0
"""How long a pod that the intent does not list yet may wait for the intent that does."""


def refuse_hello(hello: Hello, intent: Intent) -> str | None:
    """Why this agent can never join, or None."""
    if not OLDEST_CONTRACT <= hello.contract <= CONTRACT_VERSION:
        spoken = f"{OLDEST_CONTRACT} to {CONTRACT_VERSION}" if OLDEST_CONTRACT < CONTRACT_VERSION else str(CONTRACT_VERSION)
        return f"it speaks contract {hello.contract}, this job's rendezvous speaks {spoken}"
    if hello.worker < 0 or hello.incarnation < 0:
        return "its worker or incarnation is negative"
    return _refuse(AgentId(hello.worker, hello.incarnation), hello.build, intent)


def refuse_agent(agent: AgentId, build: str, waited: float, intent: Intent) -> str | None:
    """Why this connected agent is not wanted any more, or None. `waited`: seconds since it connected, or since the intent changed."""
    reason = _refuse(agent, build, intent)
    if reason is None and waited > UNLISTED_SECONDS and not _is_listed(agent, intent):
        reason = f"worker {agent.label()} is not wanted"
    return reason


def widened(intent: Intent, agents: Iterable[AgentId], generation: Generation | None) -> Intent:
    """The first intent, as it is taken until the operator has spoken.

    A rendezvous that restarts in place has the intent of its first start. Pods that were made since, and the size of the
    generation they are in, are evidence of a newer one.
    """
    newest = {seat.worker: seat.incarnation for seat in intent.workers}
    for agent in agents:
        newest[agent.worker] = max(newest.get(agent.worker, -1), agent.incarnation)
    size = unit_size(intent)
    heard = max((seat.slot // size + 1 for seat in generation.seats), default=0) if generation is not None else 0
    workers = tuple(WorkerSeat(worker=worker, incarnation=newest[worker]) for worker in sorted(newest))
    return intent.model_copy(update={"workers": workers, "replicas": max(intent.replicas, heard)})


def _is_listed(agent: AgentId, intent: Intent) -> bool:
    return any((seat.worker, seat.incarnation) == agent for seat in intent.workers)


def _refuse(agent: AgentId, build: str, intent: Intent) -> str | None:
    if intent.build and build != intent.build:
        return f"it is of build {build[:64]!r}, the job is pinned to {intent.build!r}"
    newer = max((seat.incarnation for seat in intent.workers if seat.worker == agent.worker), default=-1)
    if newer > agent.incarnation:
        return f"worker {agent.label()} has been replaced by incarnation {newer}"
    return None
