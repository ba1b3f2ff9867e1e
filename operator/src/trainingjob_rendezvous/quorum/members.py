"""The table of agents and their training processes, built from what the agents say. No clock, no network: time is an argument.

It records; it decides nothing. `quorum` reads its snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from trainingjob_api.contract.messages import GenerationId, Hello, MemberId, MemberReport, Orders, Phase, Progress, State
from trainingjob_api.contract.stamps import MemberStamp

MOST_PROCESSES = 64
"""Training processes of one agent; the manifest allows no more."""


class AgentId(NamedTuple):
    """One pod of one worker."""

    worker: int
    incarnation: int

    def label(self) -> str:
        """A name for people and logs: worker 1.0."""
        return f"{self.worker}.{self.incarnation}"


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one training process."""

    id: MemberId
    address: str
    phase: Phase
    since: float
    """When it came into this phase."""
    generation: GenerationId | None = None
    """The generation it has formed or runs in."""
    state: State | None = None
    """What it holds while Idle or Formed. While Starting: it is a script that waits to be started again."""
    leaving: bool = False
    """Its agent wants to leave."""
    left: GenerationId | None = None
    """The last generation that it was in and is not in any more."""
    stamp: MemberStamp | None = None
    """Where its process is, as its agent said last."""

    @property
    def agent(self) -> AgentId:
        """The agent that owns it."""
        return AgentId(self.id.worker, self.id.incarnation)

    def idle(self) -> bool:
        """Ready for a generation."""
        return self.phase is Phase.IDLE

    def within(self, generation: GenerationId) -> bool:
        """It holds sockets of this generation: it has formed it or runs in it."""
        return self.generation == generation and (self.phase is Phase.FORMED or self.phase.running())


@dataclass(slots=True)
class Agent:
    """What is known of one connected agent."""

    id: AgentId
    address: str
    build: str
    connected_at: float
    last_heard: float
    claim: Orders | None
    """The orders it named in its Hello."""
    keeps: bool = False
    """It obeys `Orders.keep`."""
    leaving: bool = False
    trouble: str = ""
    """What keeps it from storage."""
    members: dict[int, Member] = field(default_factory=dict)
    """By number of the process; only the newest life of each."""
    progress: dict[int, Progress] = field(default_factory=dict)
    stamps: dict[int, MemberStamp] = field(default_factory=dict)

    def stamp(self, member: Member) -> MemberStamp | None:
        """The member's newest stamp; one of an older life is none."""
        stamp = self.stamps.get(member.id.process)
        return stamp if stamp is not None and stamp.life == member.id.life else None


class Members:
    """All connected agents. An agent that is not connected is not here, and neither are its members."""

    def __init__(self) -> None:
        self.agents: dict[AgentId, Agent] = {}

    def connect(self, now: float, hello: Hello) -> AgentId:
        """Take in an agent, or its new connection: what it says now replaces all that it said before."""
        agent_id = AgentId(hello.worker, hello.incarnation)
        old = self.agents.get(agent_id)
        agent = Agent(agent_id, hello.address, hello.build, now, now, hello.orders, hello.keeps)
        if old is not None:
            agent.connected_at = old.connected_at
            agent.members = {
                report.member.process: old.members[report.member.process]
                for report in hello.members
                if report.member.process in old.members
            }
            agent.progress = old.progress
        self.agents[agent_id] = agent
        for report in hello.members:
            self.report(now, agent_id, report)
        return agent_id

    def report(self, now: float, agent_id: AgentId, report: MemberReport) -> None:
        """Take in a report; one of an older life, or of a member that is not this agent's, is ignored."""
        agent = self.agents[agent_id]
        member_id = report.member
        if (member_id.worker, member_id.incarnation) != agent_id or not 0 <= member_id.process < MOST_PROCESSES:
            return
        old = agent.members.get(member_id.process)
        if old is not None and old.id.life > member_id.life:
            return
        if report.phase is Phase.GONE:
            agent.members.pop(member_id.process, None)
            agent.progress.pop(member_id.process, None)
            return
        same = old if old is not None and old.id == member_id else None
        agent.members[member_id.process] = Member(
            id=member_id,
            address=agent.address,
            phase=report.phase,
            since=same.since if same is not None and same.phase is report.phase else now,
            generation=report.generation,
            state=report.state if report.phase in (Phase.STARTING, Phase.IDLE, Phase.FORMED) else None,
            left=_left(same, report),
        )

    def disconnect(self, agent_id: AgentId) -> tuple[Member, ...]:
        """Forget an agent; returns the members lost with it."""
        agent = self.agents.pop(agent_id, None)
        return () if agent is None else tuple(agent.members.values())

    def snapshot(self) -> tuple[Member, ...]:
        """Every member, ordered by worker, incarnation and process."""
        found = (
            replace(member, leaving=agent.leaving, stamp=agent.stamp(member))
            for agent in self.agents.values()
            for member in agent.members.values()
        )
        return tuple(sorted(found, key=lambda member: member.id))

    def trouble(self) -> str:
        """What keeps the first worker that has trouble from storage, and which it is; "" if none has."""
        troubled = min((agent for agent in self.agents.values() if agent.trouble), key=lambda agent: agent.id, default=None)
        return "" if troubled is None else f"worker {troubled.id.worker}: {troubled.trouble}"

    def claims(self) -> Mapping[AgentId, Orders | None]:
        """What each connected agent says it was last told."""
        return {agent.id: agent.claim for agent in self.agents.values()}

    def silent(self, now: float, limit: float) -> tuple[AgentId, ...]:
        """Agents not heard of for longer than `limit` seconds."""
        return tuple(agent.id for agent in self.agents.values() if now - agent.last_heard > limit)


def _left(old: Member | None, report: MemberReport) -> GenerationId | None:
    """The generation that this report says, or an earlier one said, was left."""
    if report.phase is not Phase.IDLE:
        return old.left if old is not None else None
    if report.generation is not None:
        return report.generation
    if old is not None and old.generation is not None and old.phase is not Phase.IDLE:
        return old.generation
    return old.left if old is not None else None


def by_id(members: Iterable[Member]) -> dict[MemberId, Member]:
    """The members, by who they are."""
    return {member.id: member for member in members}
