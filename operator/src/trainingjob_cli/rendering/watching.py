"""The lines of `get --watch`: a row for each job, and again whenever a row is another. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = 3


class Watched:
    """What was shown so far. The last column does not count: an age always changes."""

    def __init__(self, titles: Sequence[str], aging: int) -> None:
        """`titles` are those of the columns, `aging` the one that says nothing new."""
        self._titles = list(titles)
        self._aging = aging
        self._widths = [len(title) for title in titles]
        self._known: dict[str, list[str]] = {}
        self._begun = False

    def lines(self, rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Return what is to be printed now that the jobs have these rows, by their keys."""
        news: list[list[str]] = []
        for key, row in rows:
            lasting = [cell for column, cell in enumerate(row) if column != self._aging]
            if self._known.get(key) != lasting:
                self._known[key] = lasting
                news.append(list(row))
        shown = [*([] if self._begun or not news else [self._titles]), *news]
        self._begun = self._begun or bool(news)
        for row in shown:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return ["".join(cell.ljust(width + _GAP) for cell, width in zip(row, self._widths, strict=True)).rstrip() for row in shown]
