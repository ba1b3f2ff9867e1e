"""Positions in one job's log, as several agents report them, merged into one. Pure."""

from __future__ import annotations

from trainingjob_api.contract.messages import LogPosition


def merge(known: LogPosition | None, heard: LogPosition) -> LogPosition:
    """Return the newest of both: the higher seq wins, and `heard` if they are equal. What only the opener of an attempt knows is kept."""
    if known is None:
        return heard
    newer, older = (heard, known) if heard.seq >= known.seq else (known, heard)
    if newer.opened_attempt >= older.opened_attempt:
        return newer
    opening = ("opened_attempt", "restored_step", "request", "missing_request")
    return newer.model_copy(update={name: getattr(older, name) for name in opening})
