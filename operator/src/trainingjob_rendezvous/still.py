"""Notices that a running generation finishes no step any more. Time is an argument.

Its clock is the one on which silence is counted, so that a pause of the rendezvous itself is nobody's stall.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob_api.contract.messages import Generation, GenerationId
from trainingjob_rendezvous.quorum.members import Member
from trainingjob_rendezvous.quorum.waits import Wait, wait_of

LEAST_SECONDS = 10.0
"""No step for so long is told, however quick steps are."""
STEPS = 10
"""Of slow steps: no step for so many times their median length."""
SHOWN_SECONDS = 5.0
"""How long a reason is told at least before another one takes its place."""


class Still:
    """The time since the last finished step, and what it is waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Since the last finished step, once that is too long; else 0."""
        self.wait: Wait | None = None
        """What is waited for, once it is too long."""
        self.has_stepped = True
        """A step has been finished in the running generation, or its members do not say."""
        self._generation: GenerationId | None = None
        self._step = -1
        self._since = 0.0
        self._told_at = 0.0

    def look(self, now: float, generation: Generation | None, members: Sequence[Member], *, trouble: str = "", links: str = "") -> None:
        """Take in how the running generation stands; None: none runs, or it takes no steps."""
        mine = generation.id if generation is not None else None
        stamps = [member.stamp for member in members if member.stamp is not None and member.stamp.generation == mine]
        if generation is None or not stamps:
            self.seconds, self.wait, self._generation, self.has_stepped = 0.0, None, None, True
            return
        step = max((stamp.step for stamp in stamps if stamp.step is not None), default=-1)
        if generation.id != self._generation:
            self.has_stepped = False
        elif step != self._step:
            self.has_stepped = True
        if generation.id != self._generation or step != self._step:
            self._generation, self._step, self._since = generation.id, step, now
        still = now - self._since
        if still < max(LEAST_SECONDS, STEPS * max(stamp.step_seconds for stamp in stamps)):
            self.seconds, self.wait = 0.0, None
            return
        self.seconds = float(int(still))
        found = wait_of(generation, members, trouble=trouble, links=links)
        if self.wait is None or (found != self.wait and now >= self._told_at + SHOWN_SECONDS):
            self.wait, self._told_at = found, now
