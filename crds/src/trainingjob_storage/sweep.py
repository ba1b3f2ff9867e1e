"""Deletes the objects of saves that are given up. Effects.

Decides nothing: the log says what is dropped, and what can never be committed any more.
"""

from __future__ import annotations

from trainingjob_api.storage.layout import SAVES_PREFIX, Label, parse_save_key
from trainingjob_api.storage.log import History
from trainingjob_storage.store import Store


def sweep(store: Store, history: History) -> list[str]:
    """Delete the objects of dropped saves, and of saves that an earlier attempt did not commit.

    Returns:
        the labels of the saves whose objects were deleted, sorted.
    """
    swept: dict[str, list[str]] = {}
    for key in store.list(SAVES_PREFIX):
        parsed = parse_save_key(key)
        if parsed is not None and _given_up(parsed[0], history):
            swept.setdefault(str(parsed[0]), []).append(key)
    for keys in swept.values():
        store.delete(keys)
    return sorted(swept)


def _given_up(label: Label, history: History) -> bool:
    if str(label) in history.dropped:
        return True
    generation = label.generation()
    return generation is not None and generation.attempt < history.attempt and str(label) not in history.checkpoints
