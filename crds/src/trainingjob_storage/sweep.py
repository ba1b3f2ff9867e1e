"""Deletes the objects of saves that are given up. Effects.

Decides nothing: the log says what is dropped, and what can never be committed any more.
"""

from __future__ import annotations

from trainingjob_api.storage.layout import SAVES_PREFIX, Label, parse_save_key
from trainingjob_api.storage.log import History
from trainingjob_storage.store import Store

Saves = dict[Label, list[str]]
"""Saves, and the keys of their objects."""


def stored_saves(store: Store) -> Saves:
    """Return the saves of which something is in storage, committed or not."""
    found: Saves = {}
    for key in store.list(SAVES_PREFIX):
        parsed = parse_save_key(key)
        if parsed is not None:
            found.setdefault(parsed[0], []).append(key)
    return found


def sweep(store: Store, saves: Saves, history: History) -> list[str]:
    """Delete the objects of dropped saves, and of saves that an earlier attempt did not commit.

    Returns:
        the labels of the saves whose objects were deleted, sorted.
    """
    swept = [label for label in saves if _given_up(label, history)]
    for label in swept:
        store.delete(saves[label])
    return sorted(map(str, swept))


def _given_up(label: Label, history: History) -> bool:
    if str(label) in history.dropped:
        return True
    generation = label.generation()
    return generation is not None and generation.attempt < history.attempt and str(label) not in history.checkpoints
