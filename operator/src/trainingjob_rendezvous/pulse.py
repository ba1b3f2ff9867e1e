"""Tells an agent's silence from the rendezvous' own pauses. Time is an argument.

A rendezvous that was stopped or starved has heard nobody, and that says nothing about anybody. So silence is counted on a clock
that stands still while the rendezvous does, and after a long pause nobody is evicted for a while.
"""

from __future__ import annotations

TICK_SECONDS = 0.1
"""How often the loop is to come round."""
LONG_PAUSE_SECONDS = 0.5
"""A pause of the rendezvous after which it trusts no silence for a whole `heartbeat_timeout`."""


class Pulse:
    """The rendezvous' measure of its own loop."""

    def __init__(self, now: float, heartbeat_timeout: float) -> None:
        self.heartbeat_timeout = heartbeat_timeout
        self._last = now
        self._paused = 0.0
        self._lenient_until = now

    def beat(self, now: float) -> float:
        """The loop has come round. Returns how long it was late, in seconds."""
        late = max(0.0, now - self._last - TICK_SECONDS)
        self._last = now
        self._paused += late
        if late > LONG_PAUSE_SECONDS:
            self._lenient_until = now + self.heartbeat_timeout
        return late

    def awake(self, now: float) -> float:
        """The clock on which silence is counted: `now` less all pauses, and the one that may be going on."""
        return now - self._paused - max(0.0, now - self._last - TICK_SECONDS)

    def limit(self, now: float) -> float | None:
        """Seconds of silence on that clock after which an agent counts as lost; None: nobody is to be evicted now."""
        return None if now < self._lenient_until else self.heartbeat_timeout
