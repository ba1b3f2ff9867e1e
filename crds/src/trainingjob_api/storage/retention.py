"""Which saves may go. Pure: the journal writes the `drop` entry and deletes the objects."""

from __future__ import annotations

from collections.abc import Collection

from trainingjob_api.storage.layout import Label
from trainingjob_api.storage.log import History, Kept

KEEP_AT_LEAST = 2
"""One checkpoint alone is no checkpoint: it may turn out to be damaged."""
KEEP_ASIDE = 2
"""So many of the hidden and quarantined ones are kept, for a person to look at."""


def to_drop(history: History, keep: int) -> list[str]:
    """The labels of the saves to drop, oldest first.

    Args:
        history: the whole log.
        keep: how many of the newest visible ones stay; fewer than two count as two.
    """
    visible = history.visible()
    aside = sorted((kept for kept in history.checkpoints.values() if not kept.visible), key=lambda kept: kept.entry.seq)
    staying = {kept.save for kept in visible[-max(keep, KEEP_AT_LEAST) :]}
    staying.update(kept.save for kept in aside[-KEEP_ASIDE:])
    staying.update(kept.save for kept in [*visible, *aside] if kept.pinned)
    # With the newest healthy one stays the one that shows it: without that it would not count as healthy.
    staying.update(kept.save for kept in history.evidence_of_health())
    candidates = sorted([*visible, *aside], key=lambda kept: kept.entry.seq)
    return [kept.save for kept in candidates if kept.save not in staying]


def overtaken(saves: Collection[Label], history: History) -> list[str]:
    """Return the labels of those saves that were never whole, and are not made whole any more: the attempt has a newer checkpoint.

    A store that was full has taken some of their shards, which would keep it full.

    Args:
        saves: those of which something is in storage.
        history: the whole log.
    """
    newest = history.newest()
    if newest is None or newest.entry.attempt != history.attempt:
        return []
    return [str(save) for save in sorted(saves) if _is_overtaken(save, newest, history)]


def _is_overtaken(save: Label, newest: Kept, history: History) -> bool:
    generation = save.generation()
    if generation is None or generation.attempt != history.attempt or save.step >= newest.step:
        return False
    return str(save) not in history.checkpoints and str(save) not in history.dropped
