"""What keeps an agent from storage just now, as one line that the rendezvous is told. Pure, but for whom it tells.

Each errand (shards, commits ...) has its own line, which goes when the errand is done after all. All go when there is a newer checkpoint:
then every rank's shard is in storage, and its entry in the log.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_TEXT = 400


class Trouble:
    """The lines of one agent."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._changed: Callable[[], object] = lambda: None

    @property
    def text(self) -> str:
        """The oldest line; "" where there is none."""
        return next(iter(self._lines.values()), "")

    def listen(self, changed: Callable[[], object]) -> None:
        """Have `changed` called whenever `text` has."""
        self._changed = changed

    def failed(self, errand: str, error: Exception) -> None:
        """The errand is not done."""
        self._update(self._lines | {errand: str(error)[:MAX_TEXT]})

    def worked(self, errand: str) -> None:
        """The errand is done."""
        self._update({name: line for name, line in self._lines.items() if name != errand})

    def clear(self) -> None:
        """All errands are done, by this agent or by others."""
        self._update({})

    def _update(self, lines: dict[str, str]) -> None:
        before, self._lines = self.text, lines
        if self.text != before:
            self._changed()
