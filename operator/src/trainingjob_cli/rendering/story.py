"""A job's events as kubectl shows them: of a thing that keeps happening there is one line, which counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from trainingjob_operator.controllers.training_job.reasons import FOLDED


@dataclass(frozen=True)
class Told:
    """One line of the story."""

    type: str
    reason: str
    message: str
    """The newest one."""
    first: datetime
    last: datetime
    count: int = 1


def folded(events: Iterable[Mapping[str, str]]) -> list[Told]:
    """Return the story of these events, which come oldest first; what happened last stands last."""
    found: dict[tuple[str, str], Told] = {}
    for event in events:
        reason, message, time = event["reason"], event["message"], datetime.fromisoformat(event["time"])
        identity = (reason, "" if reason in FOLDED else message)
        known = found.pop(identity, None)
        first, count = (time, 1) if known is None else (known.first, known.count + 1)
        found[identity] = Told(event["type"], reason, message, first, time, count)
    return list(found.values())
