"""Where the progress of a run is shown: redrawn in place on a terminal, or as lines in a log. Effects: the terminal."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trainingjob_cli.rendering.live import RunView, line, panel
from trainingjob_operator.state import Event, EventType

LINE_SECONDS = 2.0
"""A log gets a line about so often, and at once when the phase changes."""


class Display(Protocol):
    """Shows a run."""

    def update(self, view: RunView) -> None:
        """Show the newest view."""

    def event(self, event: Event) -> None:
        """Show one line of the job's story."""

    def note(self, text: str) -> None:
        """Show a remark of the command itself."""

    def close(self) -> None:
        """Nothing more comes."""


class TerminalDisplay:
    """A panel at the foot of the terminal; events scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def update(self, view: RunView) -> None:
        """Redraw the panel."""
        self._live.update(panel(view, self._console.width), refresh=True)

    def event(self, event: Event) -> None:
        """Print above the panel."""
        style = "yellow" if event.type is EventType.WARNING else "dim"
        self._console.print(Text(f"{time.strftime('%H:%M:%S')} {event.reason}: {event.message}", style=style))

    def note(self, text: str) -> None:
        """Print above the panel."""
        self._console.print(Text(text, style="bold"))

    def close(self) -> None:
        """Leave the last panel standing."""
        self._live.stop()


class PlainDisplay:
    """Lines, for logs and pipes."""

    def __init__(self) -> None:
        self._last: RunView | None = None
        self._printed = 0.0

    def update(self, view: RunView) -> None:
        """Print a line if it is time, or if the phase or the number of workers changed."""
        now = time.monotonic()
        last = self._last
        turned = last is None or (last.phase, last.training) != (view.phase, view.training)
        if turned or now - self._printed >= LINE_SECONDS:
            self._last, self._printed = view, now
            print(line(view), flush=True)

    def event(self, event: Event) -> None:
        """Print the event."""
        print(f"{event.type.lower()}: {event.reason}: {event.message}", flush=True)

    def note(self, text: str) -> None:
        """Print the remark."""
        print(text, flush=True)

    def close(self) -> None:
        """Print the last view, if it was not yet."""
        sys.stdout.flush()


def make_display(console: Console, *, plain: bool) -> Display:
    """What fits this output."""
    return PlainDisplay() if plain or not console.is_terminal else TerminalDisplay(console)
