"""Where the progress of a run is shown: redrawn in place on a terminal, or as lines in a log. Effects: the terminal."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trainingjob_api.durable import is_full
from trainingjob_cli.rendering.live import RunView, line, panel
from trainingjob_operator.engine.values import Event, EventType

LINE_SECONDS, EARLY_SECONDS, LATE_SECONDS, STILL_SECONDS = 2.0, 60.0, 10.0, 30.0
"""A log gets a line about so often while steps are taken: in the first seconds, which are so many, and later; and so often where nothing
changes. A turn, such as another phase or number of workers, gets its line at once."""
FOLDED = frozenset({"CheckpointCommitted"})
"""Events that the view has a figure for."""


class Display(Protocol):
    """Shows a run."""

    def update(self, view: RunView) -> None:
        """Show the newest view."""

    def event(self, event: Event) -> None:
        """Show one line of the job's story."""

    def note(self, text: str) -> None:
        """Show a remark of the command itself."""

    def output(self, prefix: str, lines: Sequence[str]) -> None:
        """Show what a training process printed."""

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
        if event.reason in FOLDED:
            return
        style = "yellow" if event.type is EventType.WARNING else "dim"
        self._console.print(Text(f"{time.strftime('%H:%M:%S')} {event.reason}: {event.message}", style=style))

    def note(self, text: str) -> None:
        """Print above the panel."""
        self._console.print(Text(text, style="bold"))

    def output(self, prefix: str, lines: Sequence[str]) -> None:
        """Print above the panel."""
        for text in lines:
            self._console.print(Text.assemble((prefix, "cyan"), Text.from_ansi(text)))

    def close(self) -> None:
        """Leave the last panel standing."""
        self._live.stop()


class PlainDisplay:
    """Lines, for logs and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._printed = 0.0
        self._last: RunView | None = None

    def update(self, view: RunView) -> None:
        """Print a line if something has turned, or if it is time."""
        now, last = self._clock(), self._last
        if last is None or _turned(last, view) or now - self._printed >= self._pause(last, view, now):
            self._last, self._printed = view, now
            print(line(view), flush=True)

    def event(self, event: Event) -> None:
        """Print the event."""
        if event.reason not in FOLDED:
            print(f"{event.type.lower()}: {event.reason}: {event.message}", flush=True)

    def note(self, text: str) -> None:
        """Print the remark."""
        print(text, flush=True)

    def output(self, prefix: str, lines: Sequence[str]) -> None:
        """Print the lines."""
        print("\n".join(prefix + text for text in lines), flush=True)

    def close(self) -> None:
        """Print nothing more."""
        sys.stdout.flush()

    def _pause(self, last: RunView, view: RunView, now: float) -> float:
        """Seconds from the last line to one that tells of no turn."""
        if (last.step, last.checkpoint, last.message) == (view.step, view.checkpoint, view.message):
            return STILL_SECONDS
        return LINE_SECONDS if now - self._began < EARLY_SECONDS else LATE_SECONDS


def _turned(last: RunView, view: RunView) -> bool:
    """Something changed that a reader wants to know at once."""
    return (last.phase, last.training, last.wanted, last.restarts) != (view.phase, view.training, view.wanted, view.restarts)


class SafeDisplay:
    """A display that may be lost: a terminal that was closed, a pipe that nobody reads any more.

    Whoever trains must not die of it: from the first error on, nothing is shown, and what is still printed goes nowhere. A file on a disk
    that is full is not lost: it misses lines until there is room.
    """

    def __init__(self, inner: Display, lost: Callable[[OSError], None]) -> None:
        """`lost` is called once, with the error, after the standard streams were led away from it."""
        self._inner = inner
        self._lost = lost
        self._is_lost = False

    def update(self, view: RunView) -> None:
        """Show the newest view."""
        self._try(lambda: self._inner.update(view))

    def event(self, event: Event) -> None:
        """Show one line of the job's story."""
        self._try(lambda: self._inner.event(event))

    def note(self, text: str) -> None:
        """Show a remark of the command itself."""
        self._try(lambda: self._inner.note(text))

    def output(self, prefix: str, lines: Sequence[str]) -> None:
        """Show what a training process printed."""
        self._try(lambda: self._inner.output(prefix, lines))

    def close(self) -> None:
        """Nothing more comes. A terminal may have gone since the last line: what the command says at its end is lost, and no error."""
        self._try(self._inner.close)
        for stream in (sys.stdout, sys.stderr):
            if _is_gone(stream) or _has_no_room(stream):
                _silence(stream)

    def _try(self, show: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            show()
        except OSError as error:
            if is_full(error):
                return
            self._is_lost = True
            _silence(sys.stdout)
            if _is_gone(sys.stderr):
                _silence(sys.stderr)
            self._lost(error)


def _is_gone(stream: TextIO) -> bool:
    """Return whether the terminal was closed, or the pipe's last reader has left."""
    look = select.poll()
    try:
        look.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # no file at all, as under a test
        return False
    return any(found & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, found in look.poll(0))


def _has_no_room(stream: TextIO) -> bool:
    """Return whether the disk with the stream's file is full."""
    try:
        stream.flush()
    except (OSError, ValueError) as error:
        return is_full(error)
    return False


def _silence(stream: TextIO) -> None:
    """Lead the stream into nothing: each later print to it would be an error again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def make_display(console: Console, *, plain: bool) -> Display:
    """What fits this output."""
    return PlainDisplay() if plain or not console.is_terminal else TerminalDisplay(console)
