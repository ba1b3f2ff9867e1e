"""Which shards of which save are in storage, and who is to commit it. No clock, no network: time is an argument.

It never touches storage: what is durable, the log says, and agents tell what the log says (`LogPosition`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from trainingjob_api.contract.messages import Commit, Generation, GenerationId, LogPosition, Saved, SaveId
from trainingjob_rendezvous.quorum.members import AgentId

KEPT_SAVES = 8
"""Saves under way at the same time; an older one is given up."""
KEPT_GENERATIONS = 16
"""Generations whose seats are remembered, so that their last save can still be committed."""
COMMIT_SECONDS = 30.0
"""A committer that has not answered by then is followed by another; the log takes one entry of them both."""

SaveKey = tuple[GenerationId, int]


@dataclass
class _Save:
    shards: dict[int, Saved] = field(default_factory=dict)
    committer: AgentId | None = None
    asked_at: float = 0.0
    tried: set[AgentId] = field(default_factory=set)


class Saves:
    """The saves of this job that are under way."""

    def __init__(self) -> None:
        self._saves: dict[SaveKey, _Save] = {}
        self._generations: dict[GenerationId, Generation] = {}

    def know(self, generation: Generation) -> None:
        """Remember who sits where in `generation`."""
        self._generations[generation.id] = generation
        while len(self._generations) > KEPT_GENERATIONS:
            del self._generations[min(self._generations)]

    def saved(self, saved: Saved, log: LogPosition | None) -> None:
        """A member's shard is in storage. One of an unknown generation, a foreign rank or a finished save is ignored."""
        key = (saved.save.generation, saved.save.step)
        generation = self._generations.get(saved.save.generation)
        if generation is None or generation.rank_of(saved.member) != saved.shard.rank or _settled(key, log):
            return
        self._saves.setdefault(key, _Save()).shards[saved.shard.rank] = saved
        while len(self._saves) > KEPT_SAVES:
            del self._saves[min(self._saves)]

    def settle(self, log: LogPosition) -> None:
        """Forget what the log has, and what it will never take."""
        for key in [key for key in self._saves if _settled(key, log)]:
            del self._saves[key]

    def commits(self, now: float, connected: Collection[AgentId]) -> list[tuple[AgentId, Commit]]:
        """Commits to be sent now: whole saves whose committer was not asked yet, is gone, or has not answered in time."""
        found = []
        for key, save in sorted(self._saves.items()):
            generation = self._generations.get(key[0])
            if generation is None or len(save.shards) < len(generation.seats):
                continue
            waiting = save.committer in connected and now < save.asked_at + COMMIT_SECONDS
            committer = None if waiting else _choose(generation, save.tried, connected)
            if committer is not None:
                save.committer, save.asked_at = committer, now
                save.tried.add(committer)
                found.append((committer, _commit(key, save)))
        return found

    def forget_asked(self, agent: AgentId) -> None:
        """The agent's connection closed or was replaced: what it was asked, it may not have heard."""
        for save in self._saves.values():
            save.tried.discard(agent)
            if save.committer == agent:
                save.committer = None

    def wake_at(self) -> float | None:
        """When the first committer is out of time."""
        return min((save.asked_at + COMMIT_SECONDS for save in self._saves.values() if save.committer is not None), default=None)


def _settled(key: SaveKey, log: LogPosition | None) -> bool:
    if log is None:
        return False
    generation, step = key
    return generation.attempt < log.attempt or (generation.attempt == log.attempt and log.checkpoint is not None and step <= log.checkpoint)


def _choose(generation: Generation, tried: Collection[AgentId], connected: Collection[AgentId]) -> AgentId | None:
    """Rank 0's agent, or that of the lowest seat still connected, or any: those first that were not asked yet."""
    seated = [AgentId(seat.member.worker, seat.member.incarnation) for seat in generation.seats]
    present = [agent for agent in dict.fromkeys([*seated, *sorted(connected)]) if agent in connected]
    return min(present, key=lambda agent: agent in tried, default=None)


def _commit(key: SaveKey, save: _Save) -> Commit:
    shards = [save.shards[rank] for rank in sorted(save.shards)]
    return Commit(
        save=SaveId(generation=key[0], step=key[1]),
        world=len(shards),
        shards=tuple(saved.shard for saved in shards),
        position=shards[0].position,
    )
