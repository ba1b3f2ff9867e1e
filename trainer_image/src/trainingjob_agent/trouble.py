"""What keeps an agent from storage just now, as one line that the rendezvous is told. Pure, but for whom it tells.

Each errand (shards, commits ...) has its own line. It stays as it is while the errand fails in the same way, since every change is written
to the job's status, and goes when the errand is done after all. All go when there is a newer checkpoint: then every rank's shard is in
storage, and its entry in the log.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_TEXT = 400
Line = tuple[type[Exception], str]
"""How an errand fails, and in which words. The error itself would keep what it came by: buffers."""


class Trouble:
    """The lines of one agent."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._changed: Callable[[], object] = lambda: None

    @property
    def text(self) -> str:
        """The oldest line; "" where there is none."""
        return next((text for _, text in self._lines.values()), "")

    def listen(self, changed: Callable[[], object]) -> None:
        """Have `changed` called whenever `text` has."""
        self._changed = changed

    def failed(self, errand: str, error: Exception) -> None:
        """The errand is not done."""
        kind, text = type(error), str(error)[:MAX_TEXT]
        if errand not in self._lines or self._lines[errand][0] is not kind:
            self._update(self._lines | {errand: (kind, text)})

    def worked(self, errand: str) -> None:
        """The errand is done."""
        self._update({name: line for name, line in self._lines.items() if name != errand})

    def clear(self) -> None:
        """All errands are done, by this agent or by others."""
        self._update({})

    def _update(self, lines: dict[str, Line]) -> None:
        before, self._lines = self.text, lines
        if self.text != before:
            self._changed()
