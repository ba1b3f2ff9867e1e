"""The status that follows from what was seen and decided. Pure.

What changes what is wanted is written at once. Figures (step, loss, goodput …) alone are written at most every
`progress_seconds`: an API server with a thousand jobs must not drown in them.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.messages import Phase as MemberPhase
from trainingjob_api.status import Display, FailureRecord, RendezvousRecord, Status, StepMark
from trainingjob_operator.controllers.training_job import ledger as goodput_ledger
from trainingjob_operator.controllers.training_job.identity import choose, key_id
from trainingjob_operator.controllers.training_job.ledger import Ledger, Row
from trainingjob_operator.controllers.training_job.policy import Course, Decision, rollback
from trainingjob_operator.controllers.training_job.policy.wanted import current_report, is_unheard_yet, known_log, opened, pods_of
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pinned
from trainingjob_operator.controllers.training_job.status import script, silence
from trainingjob_operator.controllers.training_job.status.conditions import conditions
from trainingjob_operator.controllers.training_job.status.phase import JobPhase, is_stalled, is_training, is_under_way, is_untold, phase
from trainingjob_operator.controllers.training_job.status.stall import ROWS
from trainingjob_operator.controllers.training_job.status.storage import commit_time, storage_words
from trainingjob_operator.controllers.training_job.status.waiting import obstacle, released

_FIGURES = ("step", "total_steps", "loss", "samples_per_second", "metrics", "goodput", "ledger", "ledger_mark", "display")
_SILENT_FIGURES = ("samples_per_second", "ledger", "ledger_mark")
"""Of those, what is no reason to write by itself."""
_ROWS = {
    **{JobPhase(word): row for word, row in ROWS.items()},
    JobPhase.UNKNOWN: Row.UNKNOWN,
    JobPhase.RECOVERING: Row.RECOVERING,
    JobPhase.ROLLING_BACK: Row.RECOVERING,
    JobPhase.SUSPENDING: Row.STOPPING,
    JobPhase.RELEASING: Row.STOPPING,
    JobPhase.FAILING: Row.STOPPING,
    JobPhase.SUSPENDED: Row.SUSPENDED,
    JobPhase.SUCCEEDED: Row.FINISHED,
    JobPhase.FAILED: Row.FINISHED,
}
_AT_REST = (Course.SUSPENDED, Course.RELEASED, Course.ENDED, Course.INVALID)


def ledger_now(seen: Observed, now: datetime) -> dict[str, float]:
    """The ledger, filled in up to now: the time since its mark belongs to what the status said."""
    status = seen.job.status
    created = seen.job.metadata.creation_timestamp or now
    busy = script.busy_row(seen.job)
    row = busy if status.phase == JobPhase.RUNNING else next((row for word, row in _ROWS.items() if word == status.phase), Row.STARTING)
    return goodput_ledger.advance(status.ledger, status.ledger_mark or created, now, row)


def next_status(seen: Observed, decision: Decision, pinned: Pinned | None, settings: Settings, ledger: Ledger, now: datetime) -> Status:
    """The status after this pass; the old one itself if there is nothing to write. `pinned`: what its pods are made from."""
    old = seen.job.status
    if decision.course is Course.IGNORED:
        return old
    fresh = _replace(old, _fields(seen, decision, ledger, now) | _resolved(seen, decision, pinned, settings))
    if _without(fresh, _FIGURES) != _without(old, _FIGURES):
        return fresh
    held = decision.course in _AT_REST or is_unheard_yet(seen, decision.wanted)
    if held or _without(fresh, _SILENT_FIGURES) == _without(old, _SILENT_FIGURES):
        return old
    waited = (now - old.ledger_mark).total_seconds() if old.ledger_mark is not None else settings.progress_seconds
    return fresh if not 0 <= waited < settings.progress_seconds else old


def _fields(seen: Observed, decision: Decision, ledger: Ledger, now: datetime) -> dict[str, Any]:
    old, report = seen.job.status, _heard(seen, decision)
    unknown, metadata = silence.is_unknown(seen, decision, now), seen.job.metadata
    reached = phase(seen, decision, unknown=unknown)
    if decision.course is Course.INVALID:
        return _unheeded(seen, decision, unknown, now) | {"phase": reached, "observed_generation": metadata.generation}
    ready, workers = (None, 0) if unknown else _ready(seen, decision, report)
    ledger = _corrected(seen, decision, reached, report, ledger, now)
    figures = _figures(seen, report, ledger, now) | ({} if ready else {"samples_per_second": None})
    working = silence.words(silence.silent_since(seen, now)) if unknown else _working(seen, decision, bool(ready), workers)
    return (
        _intent(seen, decision)
        | _accounts(seen, decision, now)
        | figures
        | _history(seen, decision, report, ledger)
        | {
            "phase": reached,
            "message": _message(seen, decision, report, bool(ready), working if unknown else ""),
            "conditions": conditions(seen, decision, ready=ready, working=working, now=now),
            "observed_generation": metadata.generation,
            "ready_workers": workers,
            "wanted_workers": seen.job.spec.workers.replicas,
            "start_time": old.start_time or (now if decision.course is Course.RUNNING else None),
            "completion_time": (old.completion_time or now) if decision.course is Course.ENDED else None,
        }
    ) | _display(seen, figures, "?" if unknown else str(workers))


def _unheeded(seen: Observed, decision: Decision, unknown: bool, now: datetime) -> dict[str, Any]:
    """What is said of a job that cannot be run as it is, and is not listened to. Its spec may be a stand-in: it is not looked at."""
    old, ready = seen.job.status, None if silence.any_worker(seen) else False
    words = silence.words(silence.silent_since(seen, now)) if ready is None else "no worker runs"
    claims = conditions(seen, decision, ready=ready, working=words if unknown else "", now=now)
    fields = {"message": decision.problem, "conditions": claims}
    if not unknown:
        return fields
    shown = old.display.model_copy(update={"workers": f"{'?' if ready is None else 0}/{old.wanted_workers}"})
    return fields | {"ready_workers": 0, "samples_per_second": None, "display": shown}


def _corrected(seen: Observed, decision: Decision, reached: str, report: Report | None, ledger: Ledger, now: datetime) -> Ledger:
    """Return the ledger with the time in its right row that passed before it was noticed what the job did in it.

    No step was finished since a stall began. Nothing is known since the last report; what one that comes later tells was trained.
    """
    before, row = seen.job.status.phase, ROWS.get(reached)
    if before == JobPhase.UNKNOWN and reached != JobPhase.UNKNOWN:
        return goodput_ledger.moved(ledger, _trained_unheard(seen, decision, report, now), Row.TRAINING, Row.UNKNOWN)
    if before != JobPhase.RUNNING:
        return ledger
    if silence.is_overdue(seen, decision, now):
        marked = seen.job.status.ledger_mark if report is None else None  # what an operator before this one heard is in the ledger
        since = min(silence.silent_since(seen, now), marked or now)
        return goodput_ledger.moved(ledger, (now - since).total_seconds(), Row.UNKNOWN, script.busy_row(seen.job))
    return ledger if row is None or report is None else goodput_ledger.moved(ledger, report.still_seconds, row)


def _trained_unheard(seen: Observed, decision: Decision, report: Report | None, now: datetime) -> float:
    """Return how long the steps took that were finished while the rendezvous was not heard. In a stall none was finished."""
    steps = _newest_step(seen, decision, report) - (seen.job.status.step or 0)
    if steps <= 0 or script.is_script(seen.job):
        return 0.0
    still = report.still_seconds if report is not None and report.stalled else 0.0
    silent = max(0.0, (now - silence.silent_since(seen, now)).total_seconds() - still)
    return min(silent, steps * _step_seconds(seen, report))


def _newest_step(seen: Observed, decision: Decision, report: Report | None) -> int:
    """Return the last step that is known to be finished: as reported, or of a job that ended, as its workers' last words have it."""
    reported = report.step if report is not None else None
    if decision.course is not Course.ENDED:
        return reported or 0
    said = [pod.termination.step for pod in pods_of(seen, decision.wanted).values() if pod.termination is not None]
    log = report.log if report is not None else None
    return max(reported or 0, (log.checkpoint or 0) if log is not None else 0, *(step or 0 for step in said), 0)


def _step_seconds(seen: Observed, report: Report | None) -> float:
    """Return how long a step takes at the rate that is reported now; where none is, as long as those before took."""
    if report is not None and report.samples_per_second > 0:
        return seen.job.spec.training.global_batch_size / report.samples_per_second
    status = seen.job.status
    return status.ledger.get(Row.TRAINING, 0.0) / status.step if status.step else 0.0


def _working(seen: Observed, decision: Decision, ready: bool, workers: int) -> str:
    """Who trains; or why no step is taken, and who waits for whom."""
    report, before = current_report(seen), seen.job.status.condition("Ready")
    if script.is_script(seen.job):
        return script.working(ready, workers, seen.job.spec.workers.replicas)
    if ready:
        cut = f"; {report.links}" if report is not None and report.links else ""
        return f"{workers} of {seen.job.spec.workers.replicas} workers train{cut}"
    if report is not None and (report.stalled or report.links):
        return report.waits_for or report.links
    if report is None and before is not None and (is_under_way(seen, decision) or is_untold(seen, decision)):
        return before.message
    return "no step is taken"


def _heard(seen: Observed, decision: Decision) -> Report | None:
    """The newest report, with what the workers' last words know better: nobody may have listened when the job ended."""
    report, log = current_report(seen), known_log(seen, decision.wanted)
    known = report.log.seq if report is not None and report.log is not None else -1
    if log is None or log.seq <= known:
        return report
    return (report or Report(epoch=decision.wanted.epoch)).model_copy(update={"log": log, "step": None})


def _intent(seen: Observed, decision: Decision) -> dict[str, Any]:
    wanted = decision.wanted
    return {
        "attempt": wanted.attempt,
        "restore": rollback.remembered(seen, wanted),
        "rendezvous": RendezvousRecord(epoch=wanted.epoch, seen=wanted.rendezvous_seen),
        "workers": wanted.records(),
        "unseen": tuple(sorted(wanted.unseen)),
        "stop": wanted.stop,
        "placement": wanted.placement,
        "last_rollback_request": rollback.done(seen),
    }


def _resolved(seen: Observed, decision: Decision, pinned: Pinned | None, settings: Settings) -> dict[str, Any]:
    """What the job's pods are made from: another one in another life, or where it is lost."""
    if pinned is None or pinned == seen.pinned:
        return {}
    content, kept = pinned.content(), "" if decision.anew else seen.job.status.key_id
    key = key_id(choose(settings.keys, kept))
    return {"image": content["image"], "build": content["build"], "revision": pinned.name, "key_id": key}


def _accounts(seen: Observed, decision: Decision, now: datetime) -> dict[str, Any]:
    old, tally = seen.job.status, decision.tally
    records = tuple(FailureRecord(**(dict(record) | {"time": now})) for record in tally.records)
    return {
        "failures": tally.failures,
        "reported_failures": tally.reported if decision.wanted.epoch == old.rendezvous.epoch else 0,
        "restarts": old.restarts + tally.restarts,
        "last_failures": (*old.last_failures, *records)[-5:],
    }


def _figures(seen: Observed, report: Report | None, ledger: Ledger, now: datetime) -> dict[str, Any]:
    old = seen.job.status
    fields: dict[str, Any] = {
        "ledger": ledger,
        "ledger_mark": max(now, old.ledger_mark or now),
        "goodput": script.goodput(seen.job, ledger),
    }
    if report is None:
        return fields
    if report.step is not None and not script.is_script(seen.job):
        fields |= {"step": report.step, "loss": _shown(report.loss), "samples_per_second": _shown(report.samples_per_second) or None}
    if report.log is not None:
        log = report.log
        fields |= {"checkpoint": log.checkpoint, "checkpoints": log.checkpoints, "quarantined": log.quarantined}
        fields["model"] = log.exported or old.model
        if log.checkpoint != old.checkpoint or old.last_checkpoint_time is None:
            fields["last_checkpoint_time"] = commit_time(log)
    if report.not_finite is not None:
        fields["not_finite"] = report.not_finite
    result = report.log.result if report.log is not None and report.log.done else {}
    if (
        report.step is None
        and not script.is_script(seen.job)
        and report.log is not None
        and report.log.done
        and report.log.checkpoint is not None
    ):
        fields["step"] = report.log.checkpoint  # the last word on a finished job
    return fields | {"total_steps": report.total_steps or old.total_steps, "metrics": result or report.metrics or old.metrics}


def _history(seen: Observed, decision: Decision, report: Report | None, ledger: Ledger) -> dict[str, Any]:
    """The attempt that has begun, and what the ledger and its marks are after that and after a new checkpoint."""
    old = seen.job.status
    marks: tuple[StepMark, ...] = old.step_marks
    newest = report.log.checkpoint if report is not None and report.log is not None else None
    begun = decision.wanted.attempt == old.attempt > old.opened_attempt and opened(seen)
    if begun and not script.is_script(seen.job):  # what a script loses at a new start is known to it alone
        ledger, marks = goodput_ledger.lose(ledger, marks, _restored(seen, report))
    elif newest is not None and newest > (old.checkpoint if old.checkpoint is not None else -1):
        marks = goodput_ledger.marked(ledger, marks, newest)
    fields: dict[str, Any] = {"step_marks": marks, "opened_attempt": old.attempt if begun else old.opened_attempt}
    return fields | ({"ledger": ledger, "goodput": script.goodput(seen.job, ledger)} if begun else {})


def _restored(seen: Observed, report: Report | None) -> int:
    """The step that the attempt which has just begun starts from."""
    status = seen.job.status
    if report is not None and report.log is not None and report.log.opened_attempt == status.attempt:
        return report.log.restored_step or 0
    return (status.restore.step if status.restore.kind == "Step" else status.checkpoint) or 0


def _ready(seen: Observed, decision: Decision, report: Report | None) -> tuple[bool, int]:
    """Are steps being taken, and by how many workers? Without a report: as it was."""
    if decision.course not in (Course.RUNNING, Course.STOPPING) or decision.anew:
        return False, 0
    training, busy = is_training(seen, decision), is_under_way(seen, decision) and not is_stalled(seen)
    if report is None:
        return training, seen.job.status.ready_workers if busy else 0
    running = {phase.value for phase in MemberPhase if phase.running() or phase is MemberPhase.FORMED}
    return training, len({member.worker for member in report.members if member.phase in running}) if busy else 0


def _message(seen: Observed, decision: Decision, report: Report | None, ready: bool, silent: str) -> str:
    if decision.outcome is not None:
        return decision.outcome.message
    if decision.course is Course.STOPPING and decision.wanted.stop is not None:
        trouble = "" if report is None else storage_words(report, training=False)
        return decision.wanted.stop.message or trouble or "saving, then the pods are given back"
    if decision.course is Course.RELEASED:
        return released(decision)
    if decision.course is Course.SUSPENDED:
        return "set suspend: false to go on"
    waits = obstacle(seen)
    if waits is not None:
        return waits[1]
    if silent:
        return silent
    if report is None:
        return seen.job.status.message if is_unheard_yet(seen, decision.wanted) else ""
    return report.waits_for or storage_words(report, training=ready) or report.links or report.reason


def _shown(value: float | None) -> float | None:
    """Four digits, which is what a column has room for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _display(seen: Observed, figures: dict[str, Any], workers: str) -> dict[str, Any]:
    old = seen.job.status
    step, total = figures.get("step", old.step), figures.get("total_steps", old.total_steps)
    saved = figures.get("checkpoint", old.checkpoint)
    if step is not None and saved is not None:
        step = max(step, saved)  # the log is reported sooner than the step: what was saved was done
    shown = Display(
        workers=f"{workers}/{seen.job.spec.workers.replicas}",
        step="" if step is None else f"{step}/{total}" if total else str(step),
        progress=f"{min(100, 100 * step // total)}%" if step is not None and total else "",
    )
    return {"display": shown}


def _replace(old: Status, fields: dict[str, Any]) -> Status:
    """Not model_copy: that would skip the bounds."""
    return Status(**(dict(old) | fields))


def _without(status: Status, names: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: value for name, value in dict(status).items() if name not in names}
    return fields | ({"workers shown": status.display.workers} if "display" in names else {})
