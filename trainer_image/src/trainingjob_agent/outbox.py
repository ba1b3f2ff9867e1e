"""What the rendezvous has to hear again after a break: reports, shards saved, the log's position. Pure.

There are no acknowledgements but the orders themselves; what they show to be known is forgotten here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from trainingjob_api.contract.messages import (
    AgentMessage,
    GenerationId,
    Leaving,
    LogPosition,
    MemberReport,
    Orders,
    Phase,
    Saved,
    SaveId,
)

GONE_SECONDS = 60.0
"""For so long the end of a life is told on every new connection."""
MAX_SAVED = 16
"""Shards of more saves than these are not told again: newer ones have replaced them."""


class Outbox:
    """The agent's side of what was said."""

    def __init__(self) -> None:
        self.orders: Orders | None = None
        self.epoch = 0
        self.generation: GenerationId | None = None
        """The highest heard of."""
        self.position: LogPosition | None = None
        self.leaving = False
        self._gone: deque[tuple[float, MemberReport]] = deque(maxlen=64)
        self._saved: dict[tuple[SaveId, int], Saved] = {}

    def hear(self, orders: Orders) -> bool:
        """Take orders in; False: they are of a rendezvous that has been replaced, and are not obeyed."""
        if orders.epoch < self.epoch:
            return False
        self.orders, self.epoch = orders, orders.epoch
        if orders.generation is not None:
            self.generation = max(self.generation or orders.generation.id, orders.generation.id)
        for key, saved in list(self._saved.items()):
            if _settled(saved, orders):
                del self._saved[key]
        return True

    def report(self, report: MemberReport, now: float) -> None:
        """A member stands differently; `now` in seconds of any one clock."""
        if report.phase is Phase.GONE:
            self._gone.append((now, report))

    def saved(self, saved: Saved) -> None:
        """A shard is in storage."""
        self._saved[saved.save, saved.shard.rank] = saved
        while len(self._saved) > MAX_SAVED:
            del self._saved[next(iter(self._saved))]

    @property
    def unacknowledged(self) -> tuple[Saved, ...]:
        """Shards whose save is not committed as far as is known."""
        return tuple(self._saved.values())

    def members(self, current: Sequence[MemberReport], now: float) -> tuple[MemberReport, ...]:
        """The reports for a Hello: lives that ended lately, then the present ones."""
        while self._gone and self._gone[0][0] < now - GONE_SECONDS:
            self._gone.popleft()
        present = {report.member for report in current}
        return (*(report for _, report in self._gone if report.member not in present), *current)

    def after_hello(self) -> list[AgentMessage]:
        """What follows the Hello on every connection."""
        messages: list[AgentMessage] = list(self._saved.values())
        if self.position is not None:
            messages.append(self.position)
        if self.leaving:
            messages.append(Leaving())
        return messages


def _settled(saved: Saved, orders: Orders) -> bool:
    """The save is committed, or can no longer be: its attempt is over."""
    if orders.generation is not None and orders.generation.id.attempt > saved.save.generation.attempt:
        return True
    return orders.checkpoint is not None and saved.save.step <= orders.checkpoint
