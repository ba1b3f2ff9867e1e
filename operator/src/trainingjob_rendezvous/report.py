"""What the operator is told. Pure.

A report is bounded here as it is sent: the operator refuses a longer one unread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainingjob_api.contract.intent import MAX_REPORT_BYTES, Intent, MemberView, Report
from trainingjob_api.contract.messages import LogPosition, MemberId, Progress, Stage
from trainingjob_rendezvous.failures import Failures
from trainingjob_rendezvous.quorum.history import Decision, History
from trainingjob_rendezvous.quorum.members import Member
from trainingjob_rendezvous.still import Still

MOST_MEMBERS = 512
MOST_METRICS = 32
LONGEST_TEXT = 1024


@dataclass(frozen=True)
class Requests:
    """The requests in the intent, and which of them were carried out."""

    save: str | None = None
    save_step: int | None = None
    """The step that was known to be finished when the save was asked for."""
    saved: str | None = None
    stopped: str | None = None
    stopped_at_step: int | None = None

    def ask(self, save: str | None, step: int | None) -> Requests:
        """Take in the request for a save; the same one again changes nothing."""
        return self if save is None or save == self.save else replace(self, save=save, save_step=step)

    def answer(self, intent: Intent, decision: Decision, durable: int | None, step: int | None) -> Requests:
        """Note what has been carried out. `durable` and `step`: of the newest checkpoint, and the newest known."""
        changed = self
        if self.save is not None and self.saved != self.save and durable is not None and durable >= (self.save_step or 0):
            changed = replace(changed, saved=self.save)
        if decision.stopped and intent.stop is not None and self.stopped != intent.stop.request:
            at_step = durable if intent.stop.save else step
            changed = replace(changed, stopped=intent.stop.request, stopped_at_step=at_step)
        return changed


def assemble(
    intent: Intent,
    history: History,
    decision: Decision,
    members: Sequence[Member],
    paces: Sequence[Progress],
    failures: Failures,
    requests: Requests,
    trouble: str = "",
    still: Still | None = None,
) -> Report:
    """The report of this moment. `trouble`: what keeps a worker from storage; `still`: whether steps go on."""
    generation = history.generation
    by_member = {pace.member: pace for pace in paces}
    running = [pace for member in members if (pace := by_member.get(member.id)) is not None and member.phase.running()]
    lead = max(running, key=lambda pace: pace.step, default=None)
    states = [member.state.step for member in members if member.state is not None]
    wait = still.wait if still is not None else None
    steps_go_on = still is None or (wait is None and still.has_stepped)
    return Report(
        epoch=history.epoch,
        attempt=intent.attempt,
        generation=generation.id if generation is not None else None,
        stage=history.stage if generation is not None else "",
        reason=decision.reason[:LONGEST_TEXT],
        world=len(generation.seats) if generation is not None and history.stage is Stage.RUNNING else 0,
        members=tuple(_view(member, by_member) for member in members[:MOST_MEMBERS]),
        step=lead.step if lead is not None else max(states, default=None),
        total_steps=max((pace.total_steps for pace in paces), default=0),
        loss=lead.loss if lead is not None and lead.loss is not None and math.isfinite(lead.loss) else None,
        samples_per_second=_finite(lead.samples_per_second) if lead is not None and steps_go_on else 0.0,
        training_seconds=max((_finite(pace.training_seconds) for pace in running), default=0.0),
        metrics=_metrics(lead.metrics) if lead is not None else {},
        not_finite=lead.not_finite[:LONGEST_TEXT] if lead is not None and lead.not_finite is not None else None,
        log=_short(history.log),
        state_lost=decision.state_lost,
        failures=failures.newest(),
        failure_count=failures.count,
        saved_request=requests.saved,
        stopped=requests.stopped,
        stopped_at_step=requests.stopped_at_step,
        trouble=trouble,
        skipping_since=lead.skipping_since if lead is not None else None,
        still_seconds=still.seconds if still is not None else 0.0,
        stalled=wait.stall.value if wait is not None else "",
        waits_for=wait.words[:LONGEST_TEXT] if wait is not None else "",
    )


def encode(report: Report) -> str:
    """The report as JSON of at most MAX_REPORT_BYTES: views of members, then messages of failures are left out."""
    text = report.model_dump_json()
    members = len(report.members)
    while len(text.encode()) > MAX_REPORT_BYTES and members > 0:
        members //= 2
        text = report.model_copy(update={"members": report.members[:members]}).model_dump_json()
    if len(text.encode()) > MAX_REPORT_BYTES:
        brief = tuple(failure.model_copy(update={"message": failure.message[:100]}) for failure in report.failures)
        text = report.model_copy(update={"members": (), "failures": brief}).model_dump_json()
    return text


def urgent(report: Report) -> tuple[object, ...]:
    """What is worth a report at once when it changes; the rest waits for the next half second."""
    return (
        report.attempt,
        report.generation,
        report.stage,
        report.log,
        report.failure_count,
        report.failures,
        report.state_lost,
        report.saved_request,
        report.stopped,
        report.stalled,
        report.waits_for,
        report.links,
        report.keeps,
    )


def _view(member: Member, paces: Mapping[MemberId, Progress]) -> MemberView:
    pace = paces.get(member.id)
    step = member.state.step if member.state is not None else pace.step if pace is not None else None
    return MemberView(worker=member.id.worker, incarnation=member.id.incarnation, process=member.id.process, phase=member.phase, step=step)


def _short(log: LogPosition | None) -> LogPosition | None:
    if log is None:
        return None
    return log.model_copy(
        update={
            "checkpoints": log.checkpoints[-20:],
            "quarantined": log.quarantined[-20:],
            "exported": log.exported[:LONGEST_TEXT] if log.exported is not None else None,
            "request": log.request[:LONGEST_TEXT] if log.request is not None else None,
            "missing_request": log.missing_request[:LONGEST_TEXT] if log.missing_request is not None else None,
            "asked": log.asked if log.asked is not None and len(log.asked.request) <= LONGEST_TEXT else None,
            "result": _metrics(log.result),
        }
    )


def _metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    kept = [(name[:64], value) for name, value in sorted(metrics.items()) if math.isfinite(value)]
    return dict(kept[:MOST_METRICS])


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
