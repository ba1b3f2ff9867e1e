"""A generation that runs and finishes no step: why, in the words of conditions and phases. Pure."""

from __future__ import annotations

from trainingjob_api.contract.intent import Report, Stall
from trainingjob_operator.controllers.training_job.ledger import Row
from trainingjob_operator.controllers.training_job.reasons import Reason

REASONS: dict[str, Reason] = {
    Stall.STORAGE: Reason.WAITING_FOR_STORAGE,
    Stall.LINK: Reason.WAITING_FOR_LINK,
    Stall.DATA: Reason.WAITING_FOR_DATA,
    Stall.COMPILE: Reason.COMPILING,
    Stall.STEP: Reason.LONG_STEP,
    Stall.HANG: Reason.HANGING,
    Stall.RESTORING: Reason.RESTORING,
    Stall.EVALUATING: Reason.EVALUATING,
    Stall.FINISHING: Reason.FINISHING,
}
ROWS = {"Stalled": Row.STALLED, "Evaluating": Row.EVALUATING, "Finishing": Row.FINISHING}
"""Phase -> the row that its time goes to."""
_PHASES: dict[str, str] = {Stall.EVALUATING: "Evaluating", Stall.FINISHING: "Finishing"}


def reason(report: Report) -> Reason:
    """Return why no step is finished; what a newer rendezvous says, and is not known here, counts as hanging."""
    return REASONS.get(report.stalled, Reason.HANGING)


def phase_of(report: Report) -> str:
    """Return the phase of a job that is stalled so: of some kinds of waiting it is the usual course of things."""
    return _PHASES.get(report.stalled, "Stalled")
