"""The goodput ledger: every second since the job's creation is in exactly one row. Pure.

Time goes to the row of what the job was doing since the last entry. A restore point behind what was trained moves the
time of the steps in between from Training to Lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from trainingjob_api.status import StepMark

MAX_MARKS = 20


class Row(StrEnum):
    """What time is spent on."""

    STARTING = "Starting"
    """Pods start, processes import; nothing has been trained yet in this life of the job."""
    TRAINING = "Training"
    """Steps that count so far."""
    RUNNING = "Running"
    """The processes of a script of the user's run. Which steps they take, if any, is not known: it is no goodput."""
    STALLED = "Stalled"
    """No step for the larger of ten seconds and ten steps' time: something is waited for."""
    EVALUATING = "Evaluating"
    """The same, in a long evaluation."""
    FINISHING = "Finishing"
    """The same, after the last step: measuring, saving, exporting."""
    UNKNOWN = "Unknown"
    """Nothing was heard of the rendezvous for status.silence.LIMIT_SECONDS: what the workers did is not known."""
    RECOVERING = "Recovering"
    """Between a loss, or a rollback, and the next step."""
    LOST = "Lost"
    """Steps that a rollback or a loss of all state undid."""
    STOPPING = "Stopping"
    """Saving and leaving, on request."""
    SUSPENDED = "Suspended"
    FINISHED = "Finished"
    """Of a finished job that a rollback brought back to life."""


Ledger = Mapping[str, float]
"""Row -> seconds."""


def advance(ledger: Ledger, mark: datetime, now: datetime, row: Row) -> dict[str, float]:
    """The ledger with the time from `mark` to `now` in `row`. A clock that went back adds nothing."""
    seconds = max(0.0, (now - mark).total_seconds())
    entries = dict(ledger)
    if seconds:
        entries[row.value] = entries.get(row.value, 0.0) + seconds
    return entries


def moved(ledger: Ledger, seconds: float, row: Row, source: Row = Row.TRAINING) -> dict[str, float]:
    """The ledger with `seconds` of what is in `source`, as far as there is any, in `row`."""
    entries = dict(ledger)
    found = min(max(0.0, seconds), entries.get(source, 0.0))
    if found:
        entries[source.value] -= found
        entries[row.value] = entries.get(row.value, 0.0) + found
    return entries


def lose(ledger: Ledger, marks: Sequence[StepMark], step: int) -> tuple[dict[str, float], tuple[StepMark, ...]]:
    """The ledger and the marks once training goes on from `step`: what was trained after it is lost."""
    kept = tuple(mark for mark in marks if mark.step <= step)
    training = ledger.get(Row.TRAINING, 0.0)
    base = min(training, max((mark.training_seconds for mark in kept), default=0.0))
    entries = dict(ledger)
    if training > base:
        entries[Row.TRAINING.value] = base
        entries[Row.LOST.value] = entries.get(Row.LOST.value, 0.0) + training - base
    return entries, kept


def marked(ledger: Ledger, marks: Sequence[StepMark], step: int) -> tuple[StepMark, ...]:
    """The marks with one more: the training time so far, at the checkpoint of `step`."""
    kept = [mark for mark in marks if mark.step < step]
    return (*kept, StepMark(step=step, training_seconds=ledger.get(Row.TRAINING, 0.0)))[-MAX_MARKS:]


def active_seconds(ledger: Ledger) -> float:
    """Time that counts against a deadline: all but what the job was suspended or finished for."""
    return sum(seconds for row, seconds in ledger.items() if row not in (Row.SUSPENDED, Row.FINISHED))


def goodput(ledger: Ledger) -> str:
    """Training time over all time but the finished, such as 98%; "" before there is any."""
    wall = sum(seconds for row, seconds in ledger.items() if row != Row.FINISHED)
    return f"{int(100 * ledger.get(Row.TRAINING, 0.0) / wall)}%" if wall > 0 else ""
