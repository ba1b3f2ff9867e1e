"""Has the job ended, in success or by an earlier verdict? Pure.

The log's `done` entry decides; an agent's last words repeat it, and either suffices. An end stays an end, but for two things that
the user may ask of it: a rollback, and of a complete job more epochs or steps.
"""

from __future__ import annotations

from trainingjob_operator.controllers.training_job.policy.wanted import Outcome, Wanted, current_report, done_words
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import Observed


def ended(seen: Observed) -> Outcome | None:
    """The end that the status tells already."""
    for kind in ("Complete", "Failed"):
        condition = seen.job.status.condition(kind)
        if condition is not None and condition.status == "True":
            return Outcome(kind == "Complete", reason(condition.reason, complete=kind == "Complete"), condition.message)
    return None


def is_extended(seen: Observed) -> bool:
    """Return whether a complete job's spec asks for more epochs or steps than its last life was told."""
    condition = seen.job.status.condition("Complete")
    if condition is None or condition.status != "True" or seen.pinned is None:
        return False
    told, training = seen.pinned.content()["config"].get("training", {}), seen.job.spec.training
    if training.steps is not None:
        return training.steps > max(told.get("steps") or 0, seen.job.status.total_steps)
    return training.epochs is not None and training.epochs > (told.get("epochs") or 0)


def completed(seen: Observed, wanted: Wanted) -> Outcome | None:
    """Success, if this attempt's log or one of its workers says so."""
    report = current_report(seen)
    if report is not None and report.log is not None and report.log.done and _is_ours(seen, report.log.attempt):
        return _success(seen)
    if done_words(seen, wanted):
        return _success(seen)
    return None


def _is_ours(seen: Observed, logged: int) -> bool:
    """A new attempt revokes `done`, but only once it is in the log. The rendezvous has the same rule."""
    return logged >= seen.job.status.attempt


def _success(seen: Observed) -> Outcome:
    script = seen.job.spec.training.script is not None
    words = "the script ended with 0 on every worker" if script else "the last step is done, and the model is in storage"
    return Outcome(True, Reason.SUCCEEDED, words)


def reason(word: str, *, complete: bool = False) -> Reason:
    """The reason of an end, as the status has it; one that this operator does not know is told in general."""
    known = set(Reason)
    return Reason(word) if word in known else (Reason.SUCCEEDED if complete else Reason.FAILED)
