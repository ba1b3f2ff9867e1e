"""Which checkpoint `--to-step` means: a step, the latest one, or the one before it. Pure."""

from __future__ import annotations

from trainingjob_api.storage.log import History, Kept
from trainingjob_cli.reading.documents import ManifestError

LATEST, PREVIOUS = "latest", "previous"
_SHOWN = 20


def step_of(word: str) -> int | None:
    """Return the step that `word` names, or None for a word that stands for one.

    Raises:
        ManifestError: it is neither.
    """
    if word in (LATEST, PREVIOUS):
        return None
    if not word.isdecimal():
        raise ManifestError(f"--to-step {word}: give a step, {LATEST} or {PREVIOUS}")
    return int(word)


def target(history: History, word: str) -> Kept:
    """Return the checkpoint that `word` means in this history.

    Raises:
        ManifestError: there is none; the message names those that there are.
    """
    steps = sorted({kept.step for kept in history.visible()})
    step = step_of(word)
    if step is None:
        place = -1 if word == LATEST else -2
        step = steps[place] if len(steps) >= -place else None
    found = None if step is None else history.at_step(step)
    if found is None:
        known = ", ".join(map(str, steps[-_SHOWN:])) or "none yet"
        raise ManifestError(f"--to-step {word}: there is no such checkpoint; those that can be gone back to: {known}")
    return found
