"""What failures mean: each is classified before it is counted. Pure.

Evictions, lost nodes and orderly departures are nobody's fault. The user's rules come first, then what the agent says.
Counted ones are held against recovery.maxFailures, which a newer checkpoint refills. A step that kills whoever takes
it ends the job, after a save, before it has killed every worker in turn; so does an exception of the user's code that comes back
at its place. Twice is enough where nothing but code and data can be behind it; what somebody from outside may have done (a kill, a
full disk) has to come a third time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainingjob_api.contract.messages import Failure, FailureCause
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.spec.recovery import Rule
from trainingjob_api.status import FailureRecord
from trainingjob_operator.controllers.training_job.policy.replacement import Loss
from trainingjob_operator.controllers.training_job.policy.wanted import Outcome, current_report
from trainingjob_operator.controllers.training_job.reasons import Reason
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed, Pod

FREE_REASONS = frozenset(
    {"Evicted", "Preempting", "Preempted", NODE_LOST, "NodeShutdown", "Shutdown", "Terminated", "DeletionByTaintManager", "DeletionByPodGC"}
)
"""Words of Kubernetes for the end of a pod that is not the job's doing."""
FREE_CAUSES = frozenset({FailureCause.LOST.value, FailureCause.SILENT.value})
"""Seen from the other end of the connection; if something is behind it, the pod tells what."""


CRASHES = frozenset({FailureCause.CRASH.value, FailureCause.SIGNAL.value})
GENERATIONS = 2
LIVES = 2
CRASHES_OF_ITS_OWN = 2
CRASHES_OF_ANY_KIND = 3
_WORDS = 190
"""So many characters of an exception leave room for the fix."""
_FROM_OUTSIDE = frozenset({None, ExitCode.CRASHED.value, -1, -2, -9, -15})
"""Exit codes that tell nothing of the process's own doing: an exception of any kind, SIGHUP, SIGINT, SIGKILL, SIGTERM."""
_FINAL = {ExitCode.USER_ERROR.value: Reason.USER_ERROR, ExitCode.FENCED.value: Reason.STORAGE_CLAIMED}


class Action(StrEnum):
    """What is done about a failure; the words of recovery.rules."""

    FAIL = "Fail"
    COUNT = "Count"
    IGNORE = "Ignore"


@dataclass(frozen=True)
class Verdict:
    """One failure, classified."""

    action: Action
    record: FailureRecord
    reason: Reason = Reason.FAILED
    words: str = ""
    """All that is to be said of it, where the record is too short for that."""


@dataclass(frozen=True)
class Tally:
    """All failures of the job, after this pass."""

    failures: int = 0
    """Those that count, since the newest checkpoint."""
    reported: int = 0
    """How many of the rendezvous' are accounted for."""
    restarts: int = 0
    """Workers and processes started again, in this pass."""
    records: tuple[FailureRecord, ...] = ()
    """What is new."""
    outcome: Outcome | None = None
    hopeless: Outcome | None = None
    """How the job must fail, after a save."""


def tally(seen: Observed, lost: Sequence[Loss]) -> Tally:
    """Account for the lost workers of this pass and for what the rendezvous has newly reported."""
    new = _new_reports(seen)
    verdicts = [*(judge_process(seen, failure) for failure in new), *(judge_loss(seen, loss) for loss in lost)]
    report = current_report(seen)
    counted = _kept(seen) + sum(verdict.action is Action.COUNT for verdict in verdicts)
    return Tally(
        failures=counted,
        reported=max(seen.job.status.reported_failures, report.failure_count if report is not None else 0),
        restarts=len(lost) + sum(failure.cause not in FREE_CAUSES for failure in new),
        records=tuple(verdict.record for verdict in verdicts),
        outcome=_outcome(seen, verdicts, counted),
        hopeless=hopeless(_unruled(seen, report.failures)) if report is not None else None,
    )


def judge_process(seen: Observed, failure: Failure) -> Verdict:
    """Classify the death of a training process, as its agent or the rendezvous saw it."""
    text = f"{failure.cause}: {failure.message}" if failure.message else failure.cause
    record = FailureRecord(worker=failure.member.worker, cause=failure.cause, message=text, step=failure.step)
    if failure.cause in FREE_CAUSES:
        return Verdict(Action.IGNORE, record)
    ruled = _ruled(seen.job.spec.recovery.rules, failure.exit_code)
    if ruled is not None:
        return Verdict(ruled, record, Reason.RULE_MATCHED)
    if failure.cause == FailureCause.USER_ERROR:
        return Verdict(Action.FAIL, record, Reason.USER_ERROR, failure.message)
    if failure.cause == FailureCause.FENCED:
        return Verdict(Action.FAIL, record, Reason.STORAGE_CLAIMED, failure.message)
    return Verdict(Action.COUNT, record)


def judge_loss(seen: Observed, loss: Loss) -> Verdict:
    """Classify the loss of a worker by what its pod left behind."""
    pod = loss.pod
    step = pod.termination.step if pod is not None and pod.termination is not None else None
    code = _code(pod) if pod is not None and not loss.silent else None
    ending = "Deleted" if code is None else f"Exit{code}"
    cause = "Gone" if pod is None else "Silent" if loss.silent else pod.reason or ending
    record = FailureRecord(worker=loss.index, cause=cause, message=loss.why, step=step)
    if pod is None or loss.silent or pod.deleting or pod.reason in FREE_REASONS:
        return Verdict(Action.IGNORE, record)
    ruled = _ruled(seen.job.spec.recovery.rules, code)
    if ruled is not None:
        return Verdict(ruled, record, Reason.RULE_MATCHED)
    if code in _FINAL:
        words = pod.termination.message if pod.termination is not None else ""
        return Verdict(Action.FAIL, record, _FINAL[code], words)
    # A rendezvous that has not heard of a new pod turns it away; one that has knows a lasting reason, such as another build.
    unheard = code == ExitCode.REFUSED and not seen.reporting
    return Verdict(Action.IGNORE if unheard else Action.COUNT, record)


def hopeless(failures: Sequence[Failure]) -> Outcome | None:
    """How the job must fail, and why; None if another try may fare better."""
    crashes = [failure for failure in failures if failure.cause in CRASHES]
    return _at_a_step(crashes) or _while_starting(crashes)


def _at_a_step(crashes: Sequence[Failure]) -> Outcome | None:
    by_step: dict[int, list[Failure]] = defaultdict(list)
    for failure in crashes:
        if failure.step is not None:
            by_step[failure.step].append(failure)
    for step, found in sorted(by_step.items()):
        own = [failure for failure in found if _is_its_own_doing(failure)]
        if (_spread(own) and len(own) >= CRASHES_OF_ITS_OWN) or (_spread(found) and len(found) >= CRASHES_OF_ANY_KIND):
            return _end_of(step, found)
    return None


def _spread(failures: Sequence[Failure]) -> bool:
    return len({failure.generation for failure in failures}) >= GENERATIONS


def _end_of(step: int, found: Sequence[Failure]) -> Outcome:
    last, generations = found[-1], len({failure.generation for failure in found})
    words = (last.message or last.cause)[:_WORDS]
    if last.raised and all(failure.raised == last.raised for failure in found):
        fix = "mend it, or that step's samples" if last.samples else "mend it"
        message = f"spec.training.task: {words} at step {step}, in {generations} generations; {fix}"
        return Outcome(False, Reason.USER_ERROR, message)
    message = f"step {step} crashed {len(found)} processes in {generations} generations (the last: {words}); {_fix_of(found)}"
    return Outcome(False, Reason.POISONOUS_STEP, message)


def _fix_of(found: Sequence[Failure]) -> str:
    """Where to look: samples are named only where they may be to blame."""
    if any(failure.samples for failure in found):
        return "look at its samples"
    if any(failure.exit_code is not None and failure.exit_code < 0 and _is_its_own_doing(failure) for failure in found):
        return "look at native code that it runs, and at its samples"
    return "the end of these processes' output says where"


def _while_starting(crashes: Sequence[Failure]) -> Outcome | None:
    lives: dict[tuple[int, int, str], int] = defaultdict(int)
    for failure in crashes:
        if failure.step is None and failure.raised:
            place = (failure.member.worker, failure.member.process, failure.raised)
            lives[place] += 1
            if lives[place] >= LIVES:
                message = f"spec.training.task: {failure.message[:_WORDS]}, whenever worker {failure.member.worker} starts; mend it"
                return Outcome(False, Reason.USER_ERROR, message)
    return None


def _is_its_own_doing(failure: Failure) -> bool:
    return bool(failure.raised) or failure.exit_code not in _FROM_OUTSIDE


def _new_reports(seen: Observed) -> tuple[Failure, ...]:
    report = current_report(seen)
    if report is None:
        return ()
    count = max(0, report.failure_count - seen.job.status.reported_failures)
    newest = report.failures[-count:] if count else ()
    return tuple(failure for failure in newest if not _was_told(seen, failure))


def _was_told(seen: Observed, failure: Failure) -> bool:
    """An earlier rendezvous has told of it: agents tell every rendezvous of the last death of each of their processes."""
    if failure.generation is None or failure.generation.epoch >= seen.job.status.rendezvous.epoch:
        return False
    known = {(record.worker, record.cause, record.step) for record in seen.job.status.last_failures}
    return (failure.member.worker, failure.cause, failure.step) in known


def _kept(seen: Observed) -> int:
    """Failures that still count: none from before a newer checkpoint."""
    status, report = seen.job.status, current_report(seen)
    newest = report.log.checkpoint if report is not None and report.log is not None else None
    refilled = newest is not None and status.checkpoint is not None and newest > status.checkpoint
    return 0 if refilled or (newest is not None and status.checkpoint is None) else status.failures


def _outcome(seen: Observed, verdicts: Sequence[Verdict], counted: int) -> Outcome | None:
    for verdict in verdicts:
        if verdict.action is Action.FAIL:
            return Outcome(False, verdict.reason, f"worker {verdict.record.worker}: {verdict.words or verdict.record.message}")
    limit = seen.job.spec.recovery.max_failures
    newest = next((verdict.record for verdict in reversed(verdicts) if verdict.action is Action.COUNT), None)
    if counted > limit and newest is not None:
        message = f"{counted} failures, more than recovery.maxFailures ({limit}); the last: {_line(newest)}"
        return Outcome(False, Reason.TOO_MANY_FAILURES, message)
    return None


def _line(record: FailureRecord) -> str:
    return f"worker {record.worker}: {record.message}"


def _unruled(seen: Observed, failures: Sequence[Failure]) -> list[Failure]:
    """Those of which the user has not said what is to be done."""
    return [failure for failure in failures if _ruled(seen.job.spec.recovery.rules, failure.exit_code) is None]


def _ruled(rules: Sequence[Rule], code: int | None) -> Action | None:
    if code is None:
        return None
    status = 128 - code if code < 0 else code
    return next((Action(rule.action) for rule in rules if status in rule.exit_codes), None)


def _code(pod: Pod) -> int | None:
    return pod.termination.code if pod.termination is not None else pod.exit_code
