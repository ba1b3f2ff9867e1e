"""What training processes print: shown with a prefix, kept in a file a life. Effects: stdout, files in the scratch folder.

It must never hold up the event loop, and so the heartbeat: whoever reads the agent's stdout slowly loses lines on the screen, not
in the files.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from trainingjob_agent.process import reason

logger = logging.getLogger(__name__)

CAP_BYTES = 16 << 20
"""What is kept of a life's output: the newest."""
_MAX_LINE = 64 << 10
PROGRESS_SECONDS = 1.0
"""A line that is drawn again and again, such as a progress bar, is kept about so often."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Stdout is a file on a disk that has no room just now."""
_CURSOR = re.compile(rb"\x1b\[[0-9;]*[A-KSTfsu]")
"""Moves of the cursor, and erasing: bars of several lines are drawn by them."""


class Console:
    """The agent's stdout, written by a thread of its own."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._lines: queue.Queue[bytes | None] = queue.Queue(maxsize=10_000)
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def print(self, line: bytes) -> None:
        """Show a line, or drop it if nobody reads."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, for a while."""
        try:
            self._lines.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except OSError as error:
                if error.errno not in _FULL:  # nobody listens any more
                    return
            except ValueError:  # closed
                return


class ConsoleHandler(logging.Handler):
    """The agent's own log lines, by way of the console: a logger that waited for stdout would hold up the heartbeat."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, or drop it if nobody reads."""
        try:
            self._console.print(self.format(record).encode(errors="replace") + b"\n")
        except Exception:
            self.handleError(record)


class LifeLog:
    """The output of one life: a file of at most twice CAP_BYTES, and why the life ended as far as the output tells."""

    def __init__(self, path: Path, prefix: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._prefix = prefix.encode()
        self._console = console
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._unwritten = bytearray()
        self._uploaded = 0
        self._taken = 0
        self._written = 0
        self._rest = b""
        self._drawing = False
        """The line that the process writes has been shown as far as it goes."""
        self._drawn_at = -PROGRESS_SECONDS
        self._recent: deque[str] = deque(maxlen=reason.LINES)

    @property
    def reason(self) -> str:
        """Why the life ended, by the last that it printed: the exception with its place, or the last line; "" if it printed nothing."""
        return reason.find(tuple(self._recent))

    def feed(self, piece: bytes) -> None:
        """Take what the process has printed. A line that is drawn over (by a carriage return) is kept as it stands once a second."""
        *lines, rest = (self._rest + piece).split(b"\n")
        for line in lines:
            shown = _last_drawn(line)
            if shown.strip() or not self._drawing:
                self._line(shown)
            self._drawing = False
        self._rest = self._draw(rest)
        self._write()

    def finish(self) -> None:
        """Nothing more is printed."""
        if self._rest.strip():
            self._line(_last_drawn(self._rest))
        self._rest = b""
        self._write()

    def _draw(self, rest: bytes) -> bytes:
        """What is left of an unfinished line once its present state is shown, if it is time for that."""
        before, drawn, state = rest.rpartition(b"\r")
        shown = state if state.strip() else _last_drawn(before)
        if drawn and shown.strip():
            now = self._clock()
            if now - self._drawn_at < PROGRESS_SECONDS and len(shown) <= _MAX_LINE:
                return b"\r" + shown
            self._drawn_at, self._drawing = now, True
            self._line(shown)
            return b""
        if len(rest) > _MAX_LINE:
            self._line(rest)
            return b""
        return rest

    def note(self, text: str) -> None:
        """A line of the agent's own about this life."""
        self._line(f"agent: {text}".encode(), remember=False)
        self._write()

    def _line(self, line: bytes, *, remember: bool = True) -> None:
        line = _CURSOR.sub(b"", line)
        if remember and line.strip():
            self._recent.append(line[-4096:].decode(errors="replace").rstrip())
        self._unwritten += line + b"\n"
        self._written += len(line) + 1
        self._console.print(self._prefix + line + b"\n")

    def _write(self) -> None:
        """Put what came into the file. A disk that is full loses lines: a pipe that nobody reads would hold up the process."""
        data, self._unwritten = self._unwritten, bytearray()
        try:
            self._file.write(data)
            if self._file.tell() > 2 * CAP_BYTES:
                self._shorten()
        except OSError as error:
            logger.debug("%s: %s", self.path, error)

    def _shorten(self) -> None:
        kept = _tail(self.path)
        os.ftruncate(self._file.fileno(), 0)
        self._file.write(kept)

    def grown(self) -> bytes | None:
        """The newest CAP_BYTES, if more was written than is uploaded. Reads a file: call it in a thread."""
        if self.is_uploaded:
            return None
        self._taken = self._written
        return _tail(self.path)

    def mark_uploaded(self) -> None:
        """What `grown` returned last is in storage."""
        self._uploaded = self._taken

    @property
    def is_uploaded(self) -> bool:
        """All that was written is in storage, but for what was cut off."""
        return self._written == self._uploaded

    def close(self) -> None:
        """No more output; the file stays."""
        self._file.close()


def _last_drawn(line: bytes) -> bytes:
    """What is left to be seen of a line after its carriage returns."""
    if b"\r" not in line:
        return line
    return next((state for state in reversed(line.split(b"\r")) if state.strip()), b"")


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - CAP_BYTES))
        return file.read()
