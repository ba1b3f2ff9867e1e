"""What the status says of checkpoints: when the newest was committed, and what storage that fails means for the job. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.status import MESSAGE_BYTES

_GOES_ON = "training goes on"


def commit_time(log: LogPosition) -> datetime | None:
    """Return when the newest checkpoint was committed, by its writer's clock; None where the log does not say."""
    try:
        return None if log.checkpoint is None or log.checkpoint_time is None else datetime.fromtimestamp(log.checkpoint_time, UTC)
    except (OverflowError, ValueError, OSError):  # reports are hostile input
        return None


def storage_words(report: Report, *, training: bool) -> str:
    """Return the workers' trouble with storage, and what it means, where a status has room for it; "" without trouble.

    No age is in it, since each change of it is written: the time of the newest checkpoint says it.
    """
    if not report.trouble:
        return ""
    parts = [report.trouble, _newest(report.log)]
    if training:
        parts.append(_GOES_ON)
        if report.skipping_since is not None:
            parts.append(f"saves are skipped since step {report.skipping_since}")
    words = "; ".join(parts)
    return words if len(words.encode()) <= MESSAGE_BYTES else report.trouble


def kept_words(step: int | None, checkpoint: int | None) -> str:
    """Return what a job that has stopped has in storage, and what of its steps is lost.

    Args:
        step: the last finished step, if any is known.
        checkpoint: the step of the newest checkpoint in storage, if there is one.
    """
    reached, kept = step or 0, checkpoint or 0
    if reached <= kept:
        return "nothing was saved yet" if checkpoint is None else f"saved at step {checkpoint}"
    newest = "there is no checkpoint in storage" if checkpoint is None else f"the newest checkpoint in storage is step {checkpoint}"
    lost = f"step {reached} is lost" if reached == kept + 1 else f"steps {kept + 1} to {reached} are lost"
    return f"stopped at step {reached}; {newest}; {lost}"


def without_training(words: str) -> str:
    """Return the same of a job that does not train any more."""
    return words.partition(f"; {_GOES_ON}")[0]


def _newest(log: LogPosition | None) -> str:
    if log is None or log.checkpoint is None:
        return "there is no checkpoint yet"
    moment = commit_time(log)
    return f"the newest checkpoint is step {log.checkpoint}" + (f", saved at {moment:%H:%M:%S} UTC" if moment is not None else "")
