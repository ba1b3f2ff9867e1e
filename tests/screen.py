"""A terminal of a given width, as far as the live view uses one: what a person sees after a stream of text and control sequences."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r\n|[\r\n]|[^\x1b\r\n]+")


class Screen:
    """Lines that scroll away are kept, so a line that a redraw leaves behind is seen."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows = [""]
        self._row = self._column = 0

    def feed(self, text: str) -> Screen:
        """Show the text."""
        for found in _TOKEN.finditer(text):
            token = found[0]
            if token in ("\n", "\r\n"):
                self._line_feed()
            elif token == "\r":
                self._column = 0
            elif token.startswith("\x1b"):
                self._control(found[1], found[2])
            else:
                self._print(token)
        return self

    def lines(self) -> list[str]:
        """All lines, the eldest first."""
        return [row.rstrip() for row in self._rows]

    def _line_feed(self) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self._rows):
            self._rows.append("")

    def _control(self, numbers: str, letter: str) -> None:
        if letter == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif letter == "K":
            self._rows[self._row] = ""
        else:
            assert letter in "mhl", f"a control sequence that this screen does not know: {numbers}{letter}"

    def _print(self, text: str) -> None:
        for letter in text:
            if self._column == self._width:
                self._line_feed()
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + letter + row[self._column + 1 :]
            self._column += 1
