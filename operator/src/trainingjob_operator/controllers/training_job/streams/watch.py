"""Since when this operator has looked at one job, and when it heard its rendezvous last, whichever link that came over.

Effects: the clock. It must not decide what silence means.
"""

from __future__ import annotations

import time

from trainingjob_operator.controllers.training_job.streams.link import CONNECTING_SECONDS, Link


class Watch:
    """One job, from this operator's first look at it on."""

    def __init__(self) -> None:
        """It begins now."""
        self._began = self._heard = time.monotonic()

    def look(self, link: Link | None) -> tuple[float, bool]:
        """Return the seconds since anything came from the rendezvous, and whether it is being connected for the first time.

        Where no link can be made, as without a Service, the time of a first connection passes all the same.
        """
        now = time.monotonic()
        if link is None:
            return now - self._heard, now < self._began + CONNECTING_SECONDS
        unheard = link.unheard_seconds
        self._heard = now - unheard
        return unheard, link.connecting
