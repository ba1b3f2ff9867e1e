"""What a made-up job's status may claim: Running, a rate and training time only while steps are finished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operator_builders import CREATED
from trainingjob_api.contract.intent import Report, Stall
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.ledger import Row
from trainingjob_operator.controllers.training_job.status.silence import LIMIT_SECONDS as SILENCE_SECONDS

LIMIT_SECONDS = 10.0
WAITING = {Stall.EVALUATING: "Evaluating", Stall.FINISHING: "Finishing"}


@dataclass
class Claims:
    """What holds the steps up, and when the newest one was finished."""

    stall: str = ""
    """Why no step is taken; "": nothing is in the way."""
    stepped: datetime = CREATED

    def told(self, now: datetime, *, running: bool) -> dict[str, Any]:
        """What the rendezvous reports of it."""
        still = (now - self.stepped).total_seconds()
        if not running or still < LIMIT_SECONDS:
            return {"samples_per_second": 100.0 if running else 0.0}
        reason = self.stall or Stall.STEP
        return {"samples_per_second": 0.0, "stalled": reason, "still_seconds": still, "waits_for": f"all wait: {reason}"}

    def check_unheard(self, old: Status, new: Status, heard: datetime, now: datetime) -> None:
        """The status of a job that was not heard since then claims no steps, after a while."""
        if (now - heard).total_seconds() < SILENCE_SECONDS or new.phase in ("Succeeded", "Failed"):
            return  # the workers' last words are known
        ready = new.condition("Ready")
        assert new.phase not in ("Running", "Stalled", *WAITING.values())
        assert new.samples_per_second is None
        assert ready is None or ready.status != "True"
        assert new.display.workers.startswith(("0/", "?/")) or not new.phase
        known = max(0.0, (heard - old.ledger_mark).total_seconds()) if old.ledger_mark is not None else 0.0
        grown = new.ledger.get(Row.TRAINING, 0.0) - old.ledger.get(Row.TRAINING, 0.0)
        assert grown <= known + 1e-6, f"goodput grows by {grown:.0f} s, and nobody is heard"

    def check(self, old: Status, new: Status, report: Report | None, now: datetime) -> None:
        """The status that is written claims no more than the newest report."""
        if new.phase == "Running" and report is not None and report.epoch == new.rendezvous.epoch:
            assert not report.stalled, f"Running, and no step for {report.still_seconds:.0f} s"
        waits = [*WAITING.values(), "Stalled"]
        if new.phase in waits:
            ready = new.condition("Ready")
            assert ready is not None
            assert (ready.status, new.samples_per_second) == ("False", None)
            assert ready.message
        if old.phase in waits and new.phase in waits and new.attempt == old.attempt:
            assert new.ledger.get(Row.TRAINING, 0.0) <= old.ledger.get(Row.TRAINING, 0.0), "goodput grows, and no step is taken"
