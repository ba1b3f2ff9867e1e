"""Has the job taken longer than activeDeadlineSeconds? Pure. The clock stands while the job is suspended."""

from __future__ import annotations

from trainingjob_operator.controllers.training_job.ledger import Ledger, active_seconds
from trainingjob_operator.controllers.training_job.policy.wanted import Outcome
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed


def remaining(seen: Observed, ledger: Ledger) -> float | None:
    """Seconds left; None without a deadline. `ledger` is filled in up to now."""
    limit = seen.job.spec.active_deadline_seconds
    return None if limit is None else limit - active_seconds(ledger)


def exceeded(seen: Observed, ledger: Ledger) -> Outcome | None:
    """The end, if no time is left."""
    left = remaining(seen, ledger)
    if left is None or left > 0:
        return None
    limit = seen.job.spec.active_deadline_seconds
    return Outcome(False, Reason.DEADLINE_EXCEEDED, f"activeDeadlineSeconds ({limit}) have passed; raise it and start the job anew")
