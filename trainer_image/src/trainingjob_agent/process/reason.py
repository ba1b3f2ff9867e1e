"""Finds in the last lines of a program's output why it ended: the exception, not what was printed after it. Pure.

Knows Python's tracebacks (of one exception, chained, grouped, of a file that does not parse), also behind torch.distributed's
"[rank0]: " and from below torchrun, and argparse's refusals. Tracebacks that end nothing are passed over: of threads, of atexit hooks,
of exceptions that Python ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LINES = 200
"""So many of the last lines are looked at: what exit hooks print, and a long traceback."""
_TEXT, _PLACE = 105, 45
"""So many characters of an exception and of its place have room in a status, beside the cause and who had left before."""

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_DECORATION = re.compile(r"^\[rank\d+\]:\s?|^\s*[|+] ")
"""What torch.distributed puts before every line of a traceback, and Python before those of a group's members."""
_FRAME = re.compile(r'^ {2,4}File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_EXCEPTION = re.compile(r"^(?P<name>(?:[A-Za-z_][\w]*\.)*[A-Za-z_]\w*)(?::$|: .*|$)")
_REFUSAL = re.compile(r"^\S.*: error: .+")
_HEADER = "Traceback (most recent call last):"
_ENDS_NOTHING = ("Exception ignored in", "Error in atexit", "Exception in thread", "Exception in threading")
_LAUNCHERS = ("ChildFailedError",)
"""What torchrun raises when a process below it has failed: that one's exception is the reason."""
_TOLD_ALREADY = re.compile(r"\(.+, line \d+\)$")
_LIBRARIES = re.compile(r"site-packages|dist-packages|/lib/python3|^<frozen ")


def clean(line: str) -> str:
    """The line without colours and other escapes."""
    return _ESCAPE.sub("", line)


def find(lines: Sequence[str]) -> str:
    """The exception and its place, such as "ValueError: x (train.py, line 12, in main)"; the last line where there is none; or "".

    Args:
        lines: of the output, oldest first, without empty ones.
    """
    plain = [_DECORATION.sub("", clean(line)).rstrip() for line in lines[-LINES:]]
    found = [part for part in _tracebacks(plain) if part]
    own = [text for text, name in found if not name.endswith(_LAUNCHERS)]
    if own or found:
        return own[-1] if own else found[-1][0]
    refusals = [line for line in plain if _REFUSAL.match(line)]
    return (refusals or plain or [""])[-1].strip()


def _tracebacks(lines: Sequence[str]) -> list[tuple[str, str]]:
    """(text, name of the exception) of each traceback that may have ended the program."""
    found: list[tuple[str, str]] = []
    frames: list[re.Match[str]] = []
    counts = True
    for index, line in enumerate(lines):
        if line.endswith(_HEADER):
            frames, counts = [], not (index and lines[index - 1].startswith(_ENDS_NOTHING))
        elif frame := _FRAME.match(line):
            frames.append(frame)
        elif frames and not line.startswith(" "):
            raised = _EXCEPTION.match(line)
            if raised is not None and counts:
                found.append((_told(line, raised, frames), raised["name"]))
            frames, counts = [], True
    return found


def _told(line: str, raised: re.Match[str], frames: Sequence[re.Match[str]]) -> str:
    """The last frame of code that is not a library's says most."""
    own = [frame for frame in frames if not _LIBRARIES.search(frame["file"])]
    last = (own or frames)[-1]
    place = f"{last['file'].rpartition('/')[2]}, line {last['line']}"
    if last["name"] and last["name"] != "<module>":
        place += f", in {last['name']}"
    text = line if len(line) <= _TEXT else f"{line[: _TEXT - 1]}…"
    return text if _TOLD_ALREADY.search(line) else f"{text} ({place[:_PLACE]})"
