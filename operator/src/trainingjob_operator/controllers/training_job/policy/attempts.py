"""When does training need a new attempt, though nobody asked for one? Pure.

When no member holds the attempt's state any more, and when the log has gone past an attempt that never began (a lost
status, an operator that was restored from a backup).
"""

from __future__ import annotations

from trainingjob_operator.controllers.training_job.policy import rollback
from trainingjob_operator.controllers.training_job.policy.wanted import HIGHEST, Wanted, current_report, opened
from trainingjob_operator.controllers.training_job.state import Observed


def renewed(seen: Observed, wanted: Wanted) -> Wanted:
    """A higher attempt, if the present one cannot go on."""
    report = current_report(seen)
    if report is None:
        return wanted
    lost = report.state_lost and report.attempt == wanted.attempt
    logged = min(report.log.attempt, HIGHEST) if report.log is not None else 0
    overtaken = logged > wanted.attempt or (logged == wanted.attempt and not opened(seen))
    return wanted.with_attempt(seen, rollback.kept(seen, wanted)) if lost or overtaken else wanted
