"""Tables of jobs, results, events and checkpoints. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Status
from trainingjob_api.storage.log import History, Kept
from trainingjob_cli.rendering.live import PHASE_STYLES, duration, number
from trainingjob_cli.rendering.story import Told
from trainingjob_operator.controllers.training_job.reasons import Reason, counted, is_told

_TITLES = {"f1": "F1", "r2": "R²", "mae": "mean absolute error", "mse": "mean squared error", "rmse": "root mean squared error"}
_FIRST = ("accuracy", "precision", "recall", "f1", "r2", "rmse", "mae")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


COLUMNS = ("NAME", "PHASE", "WORKERS", "STEP", "PROGRESS", "LOSS", "CHECKPOINT", "RESTARTS", "GOODPUT", "AGE")
"""Those of `kubectl get trainingjobs`."""
WIDE = ("ATTEMPT", "STORAGE", "MESSAGE")
"""Those that `-o wide` adds."""


def jobs_table(jobs: Sequence[TrainingJob], now: datetime) -> Table:
    """The columns of `kubectl get trainingjobs`."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in COLUMNS:
        table.add_column(title, no_wrap=True)
    for job in jobs:
        name, phase, *rest = cells(job, now)
        table.add_row(name, Text(phase, style=PHASE_STYLES.get(phase, "")), *rest)
    return table


def cells(job: TrainingJob, now: datetime, *, wide: bool = False) -> list[str]:
    """What a job's row has in each column."""
    status, shown = job.status, job.status.display
    found = [
        job.metadata.name,
        status.phase or "Pending",
        shown.workers,
        shown.step,
        shown.progress,
        "" if status.loss is None else number(status.loss),
        "" if status.checkpoint is None else str(status.checkpoint),
        str(status.restarts),
        status.goodput,
        age(job.metadata.creation_timestamp, now),
    ]
    return [*found, str(status.attempt), job.spec.checkpoint.storage.uri, " ".join(status.message.split())] if wide else found


def age(created: datetime | None, now: datetime) -> str:
    """As kubectl says it: 45s, 12m, 3h, 5d."""
    if created is None:
        return ""
    return short_time((now - created).total_seconds())


def short_time(span: float) -> str:
    """Return a time in seconds as kubectl says it: 45s, 12m, 3h, 5d."""
    seconds = max(0, int(span))
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def result(job: TrainingJob, history: History | None = None) -> RenderableType:
    """What a finished job has to show."""
    status = job.status
    table = Table(title=f"{job.metadata.name}: complete", title_justify="left", title_style="bold green", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    metrics = measured(status, history)
    for name in sorted(metrics, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        table.add_row(f"{_TITLES.get(name, name.replace('_', ' '))} (held-out)", f"{metrics[name]:.4f}")
    if status.not_finite:
        table.add_row("not a finite number", status.not_finite)
    table.add_section()
    if status.total_steps:  # a script's are its own business
        table.add_row("steps", f"{status.step if status.step is not None else '-'} of {status.total_steps}")
    table.add_row("wall time", duration(wall_seconds(job)))
    if status.goodput:
        table.add_row("goodput", status.goodput)
    table.add_row("failures survived", str(max(status.restarts, status.failures)))
    longer = "epochs" if job.spec.training.epochs is not None else "steps"
    hints = [f"Start anew:  trainingjob delete {job.metadata.name} --storage, and run it again"]
    if job.spec.training.task is not None:
        hints.insert(0, f"Train on:    raise {longer} in its manifest, and run it again")
    if status.checkpoints:
        table.add_row("checkpoints", ", ".join(map(str, status.checkpoints)))
    if status.model is not None:
        table.add_row("model", status.model)
        hints.insert(0, f"Use it:      trainingjob predict {job.metadata.name} --rows FILE")
    return Group(table, Text("\n".join(hints)))


def measured(status: Status, history: History | None) -> Mapping[str, float]:
    """The metrics on held-out data: the log's word before the status'."""
    return history.done.result if history is not None and history.done is not None and history.done.result else status.metrics


def wall_seconds(job: TrainingJob) -> float | None:
    """From creation to the end."""
    began, ended = job.metadata.creation_timestamp, job.status.completion_time
    return None if began is None or ended is None else (ended - began).total_seconds()


def failure(job: TrainingJob, log_lines: Sequence[str]) -> str:
    """Why a job failed: the cause, the first failing worker, the end of its log."""
    condition = job.status.condition("Failed")
    cause = (condition.message or condition.reason) if condition is not None else job.status.message
    lines = [f"job {job.metadata.name} has failed: {cause}"]
    for record in [record for record in job.status.last_failures[:1] if not is_told(record, cause)]:
        where = f" at step {record.step}" if record.step is not None else ""
        cause = "" if record.message.startswith(record.cause) else f"{record.cause}: "
        lines.append(f"first failing worker: {record.worker}{where}: {cause}{record.message}")
    if log_lines:
        lines.append("the end of its log:")
        lines.extend(f"  {text}" for text in log_lines)
    claimed = condition is not None and condition.reason == Reason.STORAGE_CLAIMED  # the storage is another job's
    storage = ", and name another storage in its manifest" if claimed else " --storage"
    lines.append(f"All of it: trainingjob logs {job.metadata.name}. Start anew: trainingjob delete {job.metadata.name}{storage}")
    return "\n".join(lines)


def description(job: TrainingJob, events: Sequence[Told], now: datetime) -> RenderableType:
    """Status, conditions and events of one job."""
    status = job.status
    facts = Table.grid(padding=(0, 2))
    for title, value in (
        ("Name", job.metadata.name),
        ("Namespace", job.metadata.namespace),
        ("Phase", f"{status.phase}  {status.message}".strip()),
        ("Attempt", f"{status.attempt}, epoch {status.rendezvous.epoch}"),
        ("Workers", status.display.workers or f"{status.ready_workers}/{job.spec.workers.replicas}"),
        ("Step", status.display.step or "-"),
        ("Loss", number(status.loss)),
        ("Checkpoints", ", ".join(map(str, status.checkpoints)) or "-"),
        ("Last saved", "-" if status.last_checkpoint_time is None else clock(status.last_checkpoint_time)),
        ("Failures", f"{status.failures} counted, {status.restarts} restarts"),
        ("Goodput", status.goodput or "-"),
        ("Storage", job.spec.checkpoint.storage.uri),
        ("Model", status.model or "-"),
    ):
        facts.add_row(f"{title}:", Text(value))
    return Group(facts, Text("\nConditions:"), _conditions(status), Text("\nEvents:"), _events(events, now))


def clock(moment: datetime) -> str:
    """Return a moment in the time zone of whoever looks."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def state_of(kept: Kept) -> str:
    """Return whether a checkpoint can be gone back to, in one word."""
    return "quarantined" if kept.quarantined else "hidden" if kept.hidden else "visible"


def checkpoints_table(history: History) -> RenderableType:
    """What the log says of every checkpoint that is kept, and how many are not."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("STEP", "TIME", "ATTEMPT", "STATE", "SIZE", "SAVE"):
        table.add_column(title, no_wrap=True)
    for kept in sorted(history.checkpoints.values(), key=lambda kept: kept.entry.seq):
        note = " (pinned)" if kept.pinned else ""
        moment = clock(datetime.fromtimestamp(kept.entry.time, UTC))
        table.add_row(str(kept.step), moment, str(kept.entry.attempt), state_of(kept) + note, size(kept.entry.bytes), kept.save)
    if not history.deleted:
        return table
    steps = [int(save.partition("-")[0]) for save in history.deleted]
    gone = f"step {steps[0]}" if len(steps) == 1 else f"steps {min(steps)} to {max(steps)}"
    return Group(table, Text(f"{counted(len(steps), 'older checkpoint')} deleted ({gone}); spec.checkpoint.keep says how many stay"))


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _conditions(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 2))
    for title in ("TYPE", "STATUS", "REASON", "MESSAGE"):
        table.add_column(title)
    for condition in status.conditions:
        table.add_row(condition.type, condition.status, condition.reason, Text(condition.message))
    return table


def _events(events: Sequence[Told], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 2))
    for title in ("LAST SEEN", "TYPE", "REASON", "MESSAGE"):
        table.add_column(title)
    for event in events:
        often = f" (x{event.count} over {age(event.first, now)})" if event.count > 1 else ""
        table.add_row(age(event.last, now) + often, event.type, event.reason, Text(event.message))
    return table
