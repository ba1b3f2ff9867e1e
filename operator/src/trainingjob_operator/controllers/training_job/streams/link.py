"""What one job's rendezvous says, as both backends hear it: the newest report, and how long each worker has been missing.

Effects: one stream. It must not decide what silence means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from trainingjob_api.contract.intent import Intent, Report
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.controllers.training_job.state import Pod, PodPhase, Role
from trainingjob_operator.controllers.training_job.streams.stream import Stream

CONNECTING_SECONDS = 15.0
"""How long a first connection may take: an operator that begins opens thousands at once."""
_FIGURES: dict[str, Any] = {
    "loss": None,
    "samples_per_second": 0.0,
    "training_seconds": 0.0,
    "metrics": {},
    "still_seconds": 0.0,
    "skipping_since": None,
}


class Link:
    """The stream to the rendezvous at one address, and what came out of it."""

    def __init__(self, address: str, identity: Identity, wake: Callable[[], None], may_tell: Callable[[], bool] = lambda: True) -> None:
        """`wake` is called when there is something new, but for figures, which are looked at now and then anyway.

        `may_tell` is asked before the rendezvous is told anything.
        """
        self._stream = Stream(
            address,
            identity.certificate_pem,
            identity.operator_token,
            self._hear,
            on_change=self._changed,
            may_tell=may_tell,
        )
        self._wake = wake
        self._began = time.monotonic()
        self._report: Report | None = None
        self._reports = False
        """A report has come over the present connection: the one before may be long out of date."""
        self._heard: dict[tuple[int, int], float] = {}
        """(worker, incarnation) -> when it was last known to the rendezvous, or first looked for; monotonic seconds."""
        self._known: set[tuple[int, int]] = set()

    @property
    def address(self) -> str:
        """host:port of the rendezvous."""
        return self._stream.address

    @property
    def standing(self) -> bool:
        """The stream is connected."""
        return self._stream.connected

    @property
    def reporting(self) -> bool:
        """The stream is connected, and a report has come over it."""
        return self.standing and self._reports

    @property
    def unheard_seconds(self) -> float:
        """Seconds since anything came from the rendezvous, or since this link was made."""
        return max(0.0, time.monotonic() - self._stream.heard)

    @property
    def connecting(self) -> bool:
        """No report has come yet, and one may."""
        return self._report is None and time.monotonic() < self._began + CONNECTING_SECONDS

    def report(self, epoch: int) -> Report | None:
        """The newest report, if it is of this epoch's rendezvous."""
        return self._report if self._report is not None and self._report.epoch == epoch else None

    def tell(self, intent: Intent) -> None:
        """Have the rendezvous told what is wanted."""
        self._stream.tell(intent)

    def silences(self, pods: Iterable[Pod], first_seconds: float) -> dict[int, float]:
        """Worker index -> seconds without its newest pod, if that runs. One that was never heard of has `first_seconds` free."""
        now = time.monotonic()
        pods = tuple(pods)
        newest = {pod.index: pod.incarnation for pod in sorted(pods, key=lambda pod: pod.incarnation) if pod.role is Role.WORKER}
        members = self._members()
        found: dict[int, float] = {}
        for pod in pods:
            if pod.role is not Role.WORKER or pod.phase is not PodPhase.RUNNING or pod.deleting:
                continue
            seat = (pod.index, pod.incarnation)
            if pod.incarnation < newest[pod.index]:
                continue  # its silence is not its successor's
            if seat in members or not self.reporting:
                self._heard[seat] = now
                continue
            silent = now - self._heard.setdefault(seat, now) - (0.0 if seat in self._known else first_seconds)
            if silent > 0:
                found[pod.index] = silent
        return found

    async def close(self) -> None:
        """End the stream."""
        await self._stream.close()

    def _members(self) -> set[tuple[int, int]]:
        if self._report is None:
            return set()
        return {(member.worker, member.incarnation) for member in self._report.members}

    def _hear(self, report: Report) -> None:
        now = time.monotonic()
        for seat in self._members():
            self._heard[seat] = now  # until this moment the former report held
        before, self._report = self._report if self._reports else None, report
        self._reports = True
        self._known |= self._members()
        if before is None or _still(before) != _still(report):
            self._wake()

    def _changed(self, connected: bool) -> None:
        self._reports = False
        if not connected:
            self._heard.clear()  # what nobody watches is not silence
        self._wake()


def _still(report: Report) -> Report:
    """The report without what changes with every step; that there has been one is kept."""
    members = tuple(member.model_copy(update={"step": None}) for member in report.members)
    return report.model_copy(update=_FIGURES | {"members": members, "step": None if report.step is None else 0})
