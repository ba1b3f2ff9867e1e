import errno
import io
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from screen import Screen
from trainingjob_cli.rendering.display import PlainDisplay, SafeDisplay, TerminalDisplay
from trainingjob_cli.rendering.live import RunView
from trainingjob_operator.engine.values import Event, EventType

VIEW = RunView(
    name="digits",
    phase="Running",
    message="",
    training=3,
    wanted=3,
    step=91,
    total_steps=1800,
    loss=0.1388,
    samples_per_second=8536.0,
    seconds_left=19.0,
    checkpoint=50,
    restarts=0,
    goodput="0%",
    reporting=True,
)
EVENT = Event(EventType.WARNING, "WorkerLost", "worker 1: Signal: SIGKILL")
COMMITTED = Event(EventType.NORMAL, "CheckpointCommitted", "checkpoint 50 is in storage")


@pytest.mark.parametrize("width", [40, 60, 80, 90, 160])
@pytest.mark.parametrize(
    "message", ["", "0 of at least 2 workers are ready, of which not one is on a node that could have been named in a short line"]
)
def test_the_live_view_is_redrawn_in_place_at_every_width(width: int, message: str) -> None:
    out = io.StringIO()
    display = TerminalDisplay(Console(file=out, force_terminal=True, width=width, height=24, highlight=False, color_system=None))
    for step in range(91, 1800, 300):
        display.update(replace(VIEW, step=step, message=message, phase="Recovering" if message else "Running"))
        if step == 391:
            display.event(EVENT)
            display.output("[0/0.0] ", ["epoch 1 " + "x" * 100])
    display.close()
    lines = Screen(width).feed(out.getvalue()).lines()
    assert [line.split()[0] for line in lines if "digits" in line] == ["digits"]
    assert sum("WorkerLost" in line for line in lines) == 1
    assert sum("epoch 1" in line for line in lines) == 1
    assert sum("1591/1800" in line for line in lines) == 1
    assert not any("91/1800" in line for line in lines if "1591/1800" not in line)
    for words in ("workers 3/3", "checkpoint 50", "goodput 0%", "loss 0.1388", "8,536 samples/s", "0:19 left"):
        assert any(words in line for line in lines), (words, lines)


def plain(steps: Callable[[int], RunView], seconds: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is printed when the view is updated once a second."""
    now = [0.0]
    display = PlainDisplay(lambda: now[0])
    for second in range(seconds):
        now[0] = float(second)
        display.update(steps(second))
    return capsys.readouterr().out.splitlines()


def test_a_log_gets_a_line_when_something_changes_and_every_30_seconds_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(plain(lambda second: replace(VIEW, samples_per_second=float(second)), 90, capsys)) == 3
    assert len(plain(lambda second: replace(VIEW, phase="Starting" if second < 10 else "Running"), 20, capsys)) == 2
    assert len(plain(lambda second: replace(VIEW, step=second), 60, capsys)) == 30
    assert len(plain(lambda second: replace(VIEW, step=second), 360, capsys)) == 30 + 30


def test_a_checkpoint_is_told_by_the_view_alone(capsys: pytest.CaptureFixture[str]) -> None:
    display = PlainDisplay()
    display.event(COMMITTED)
    assert capsys.readouterr().out == ""
    display.event(EVENT)
    assert "WorkerLost" in capsys.readouterr().out


class Closed(PlainDisplay):
    """Writes to a pipe that nobody reads any more."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        os.close(reader)
        super().__init__()

    def update(self, view: RunView) -> None:
        os.write(self._writer, b"x")


def test_a_display_that_is_lost_is_told_of_once_and_raises_nothing() -> None:
    lost: list[OSError] = []
    display = SafeDisplay(Closed(), lost.append)
    for _ in range(3):
        display.update(VIEW)
        display.note("more")
    display.close()
    assert [type(error) for error in lost] == [BrokenPipeError]


class Full(PlainDisplay):
    """Writes to a file on a disk that has no room for the first lines."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.has_room = False

    def note(self, text: str) -> None:
        if not self.has_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken.append(text)


def test_a_display_on_a_full_disk_misses_lines_and_is_not_lost() -> None:
    lost: list[OSError] = []
    inner = Full()
    display = SafeDisplay(inner, lost.append)
    display.note("missed")
    inner.has_room = True
    display.note("shown")
    display.close()
    assert (inner.taken, lost) == (["shown"], [])
