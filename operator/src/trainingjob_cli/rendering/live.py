"""The view of a running job: a panel for a terminal, one line for a log. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.state import Observed, Pod, Role
from trainingjob_operator.controllers.training_job.status.script import is_script

_ROUNDING = 1000
_TINY = 0.0005
"""Less than this would be shown as 0.0000, or with one digit."""
_BESIDE_BAR, _NARROWEST_BAR, _WIDEST_BAR = 64, 10, 40
"""Columns that the figures beside the bar take, and the bar's own."""
PHASE_STYLES = {"Running": "green", "Succeeded": "bold green", "Failed": "bold red", "Suspended": "yellow"}


@dataclass(frozen=True)
class RunView:
    """What is shown of a job at one moment."""

    name: str
    phase: str
    message: str
    training: int
    """Workers that train."""
    wanted: int
    step: int | None
    total_steps: int
    loss: float | None
    samples_per_second: float
    seconds_left: float | None
    checkpoint: int | None
    restarts: int
    goodput: str
    reporting: bool
    script: bool = False
    """It runs a script, whose steps and checkpoints are its own."""
    warning: str = ""
    """What is wrong although the job trains."""


def view_of(seen: Observed, status: Status) -> RunView:
    """What is to be shown: the rendezvous' newest report where there is one, the status where not."""
    report = seen.report if seen.reporting else None
    script = is_script(seen.job)
    step = report.step if report is not None and report.step is not None and not script else status.step
    total = (report.total_steps if report is not None else 0) or status.total_steps
    loss = report.loss if report is not None and report.loss is not None else status.loss
    checkpoint = report.log.checkpoint if report is not None and report.log is not None else status.checkpoint
    if step is not None and checkpoint is not None:
        step = max(step, checkpoint)  # the log is heard of sooner than the step: what was saved was done
    rate = report.samples_per_second if report is not None else 0.0
    return RunView(
        name=seen.job.metadata.name,
        phase=status.phase or "Pending",
        message=status.message or problem_of(seen.pods),
        training=status.ready_workers,
        wanted=seen.job.spec.workers.replicas,
        step=step,
        total_steps=total,
        loss=loss,
        samples_per_second=rate,
        seconds_left=_left(seen.job, step, total, rate),
        checkpoint=checkpoint,
        restarts=status.restarts,
        goodput=status.goodput,
        reporting=seen.reporting,
        script=script,
        warning=_warning(status),
    )


def _warning(status: Status) -> str:
    failing = status.condition("StorageFailing")
    return failing.message if failing is not None and failing.status == "True" else ""


def problem_of(pods: tuple[Pod, ...]) -> str:
    """Why a pod does not start, if one does not."""
    return next((f"{pod.reason}: {pod.message}" for pod in pods if pod.reason and pod.message and pod.role is Role.WORKER), "")


def panel(view: RunView, width: int = 60) -> RenderableType:
    """Return the job's state, a bar and its figures, for a terminal of `width` columns.

    Rich counts the lines that it has to redraw, so no line but the message may be left to the terminal to wrap.
    """
    state = [
        Text(view.name, "bold"),
        Text(view.phase, PHASE_STYLES.get(view.phase, "cyan")),
        Text(workers(view)),
        *([] if view.script else [Text(f"checkpoint {_or_dash(view.checkpoint)}")]),
        Text(f"restarts {view.restarts}"),
        *([] if view.script else [Text(f"goodput {view.goodput or '-'}")]),
    ]
    lines: list[RenderableType] = [*_flowed(state, width), *([] if view.script else _progress(view, width))]
    if view.message and view.phase != "Running":
        lines.append(Text(view.message, style="dim"))
    elif view.warning:
        lines.append(Text(view.warning, style="yellow"))
    return Group(*lines)


def _progress(view: RunView, width: int) -> list[RenderableType]:
    """Return the bar and the figures beside it; below it where the terminal is too narrow."""
    figures = [Text(steps(view)), Text(f"loss {number(view.loss)}"), Text(rate(view.samples_per_second))]
    if view.seconds_left is not None:
        figures.append(Text(f"{duration(view.seconds_left)} left"))
    room, row = width - _BESIDE_BAR, Table.grid(padding=(0, 2))  # a bar by itself would not end its line
    if room < _NARROWEST_BAR:
        row.add_row(_bar(view, min(width, _WIDEST_BAR)))
        return [row, *_flowed(figures, width)]
    row.add_row(_bar(view, min(room, _WIDEST_BAR)), Text("  ").join(figures))
    return [row]


def _bar(view: RunView, width: int) -> ProgressBar:
    return ProgressBar(total=max(view.total_steps, 1), completed=view.step or 0, width=width)


def _flowed(parts: list[Text], width: int) -> list[Text]:
    """Return the parts in as many lines as they need, broken between them; a part wider than a line is cut."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 2 + part.cell_len <= width:
            lines[-1] = Text("  ").join((lines[-1], part))
        else:
            lines.append(part)
    for each in lines:
        each.no_wrap, each.overflow = True, "ellipsis"
    return lines


def line(view: RunView) -> str:
    """The same for a log file."""
    figures = [
        f"step {steps(view)}",
        f"loss {number(view.loss)}",
        rate(view.samples_per_second),
        f"ETA {duration(view.seconds_left)}",
        f"checkpoint {_or_dash(view.checkpoint)}",
    ]
    parts = [
        f"{view.name} {view.phase}",
        workers(view),
        *([] if view.script else figures),
        f"restarts {view.restarts}",
        *([] if view.script else [f"goodput {view.goodput or '-'}"]),
    ]
    words = view.message if view.phase != "Running" else view.warning
    note = f"  ({words})" if words else ""
    return "  ".join(parts) + note


def workers(view: RunView) -> str:
    """Workers that train, and those that should; nobody knows the first of a job that is not heard."""
    return f"workers {'?' if view.phase == 'Unknown' else view.training}/{view.wanted}"


def steps(view: RunView) -> str:
    """Finished and planned steps."""
    if view.step is None:
        return f"-/{view.total_steps}" if view.total_steps else "-"
    if not view.total_steps:
        return str(view.step)
    return f"{view.step}/{view.total_steps} {100 * view.step // view.total_steps}%"


def rate(samples_per_second: float) -> str:
    """The pace; while no step is taken there is none."""
    return f"{samples_per_second:,.0f} samples/s" if samples_per_second > 0 else "- samples/s"


def number(value: float | None) -> str:
    """A loss, short."""
    if value is None:
        return "-"
    is_tiny = 0 < abs(value) < _TINY
    return f"{value:.4f}" if abs(value) < _ROUNDING and not is_tiny else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time in h:mm:ss, or m:ss."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _left(job: TrainingJob, step: int | None, total: int, rate: float) -> float | None:
    """Seconds until the last step at the present rate, in samples a second. A script's batch is not known."""
    batch = job.spec.training.global_batch_size
    if step is None or not total or not batch or rate <= 0:
        return None
    return max(0, total - step) * batch / rate
