"""`trainingjob run` in a real terminal: what it shows there, and what happens to the job when the terminal goes away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from digits_job import Make
from e2e.local.scripts import WAITS, begun, scripted
from local_job import COMMAND, LocalJob, until
from screen import Screen

pytestmark = pytest.mark.timeout(180)


class Terminal:
    """A command whose controlling terminal this is."""

    def __init__(self, job: LocalJob, width: int, before: Callable[[], object]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, "run", str(job.file)],
            env={name: value for name, value in job.environment().items() if name != "COLUMNS"} | {"TERM": "xterm"},
            cwd=job.folder.parent / "work" if (job.folder.parent / "work").exists() else job.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0), before()),
        )
        os.close(slave)
        self._shown = bytearray()
        self._goes = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._width = width

    def lines(self) -> list[str]:
        """What a person sees, the scrolled part too."""
        return Screen(self._width).feed(self._shown.decode(errors="replace")).lines()

    def go_away(self) -> None:
        """As when tmux is killed or ssh is cut: the kernel sends SIGHUP, and every write fails from now on."""
        self._goes = True
        self._reader.join(10)
        os.close(self._master)  # not while it is read: the kernel would keep it for the reader

    def ends(self) -> int:
        """Wait for the command's end."""
        return self.process.wait(60)

    def _read(self) -> None:
        with suppress(OSError):
            while not self._goes:
                if select.select([self._master], [], [], 0.05)[0]:
                    self._shown += os.read(self._master, 65536)


@contextmanager
def in_terminal(job: LocalJob, width: int = 80, before: Callable[[], object] = lambda: None) -> Iterator[Terminal]:
    """`trainingjob run` in a terminal; whatever the test does, nothing of it is left afterwards."""
    terminal = Terminal(job, width, before)
    try:
        yield terminal
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
        for left in job.processes():
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)


def test_the_view_stays_in_its_place_at_80_columns(make: Make) -> None:
    job = make(training__epochs=8, workers__replicas=1, workers__minReplicas=1)
    with in_terminal(job) as terminal:
        assert terminal.ends() == 0, terminal.lines()
        until("its end is shown", lambda: any("Start anew" in line for line in terminal.lines()))
        lines = terminal.lines()
    assert sum(line.startswith("digits  ") for line in lines) == 1, lines
    assert sum("samples/s" in line for line in lines) == 1, lines


def test_a_job_whose_terminal_goes_away_saves_and_stops(make: Make) -> None:
    job = make(training__epochs=400, workers__replicas=1, workers__minReplicas=1)
    with in_terminal(job) as terminal:
        until("it trains", lambda: job.step() >= 20)
        terminal.go_away()
        assert terminal.ends() == 130
    assert job.processes() == []
    assert job.status()["phase"] == "Suspended"
    assert job.checkpoints()[-1] == job.step()
    shown = job.command("get", job.name)
    assert "Suspended" in shown.stdout
    assert "stale" not in shown.stdout + shown.stderr


def test_a_job_under_nohup_runs_on_without_its_terminal(tmp_path: Path) -> None:
    job = scripted(tmp_path, WAITS)
    with in_terminal(job, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as terminal:
        begun(job)
        terminal.go_away()
        (tmp_path / "work" / "go").touch()
        assert terminal.ends() == 0
    assert job.processes() == []
    assert job.status()["phase"] == "Succeeded"


def test_a_job_whose_command_was_killed_is_shown_as_stale_and_ended_by_suspend(tmp_path: Path) -> None:
    job = scripted(tmp_path, WAITS)
    with in_terminal(job) as terminal:
        begun(job)
        terminal.process.kill()
        terminal.ends()
        listed = job.command("get")
        assert " (stale)" in listed.stdout
        assert "stale: nobody has written it for" in listed.stderr
        assert "3 of its processes live on" in listed.stderr, listed.stderr
        assert f"trainingjob suspend {job.name}" in " ".join(job.command("describe", job.name).stdout.split())
        ended = job.command("suspend", job.name)
        assert ended.returncode == 0, ended.stderr
        assert f"job {job.name} is suspended: " in ended.stderr
        assert "nobody runs it now" in ended.stderr
        assert job.processes() == []
    assert job.status()["phase"] == "Suspended"
    assert job.command("get").stderr == ""


def test_a_job_of_which_all_was_killed_is_stale_until_it_is_suspended(tmp_path: Path) -> None:
    job = scripted(tmp_path, WAITS)
    with in_terminal(job) as terminal:
        begun(job)
        terminal.process.kill()
        terminal.ends()
        for process in job.processes():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        until("all have ended", lambda: not job.processes())
    listed = job.command("get")
    assert "none of its processes lives" in listed.stderr
    assert job.command("suspend", job.name).returncode == 0
    assert job.status()["phase"] == "Suspended"


def test_a_job_works_where_it_was_started_wherever_it_is_resumed(tmp_path: Path) -> None:
    job = scripted(tmp_path, WAITS)
    with in_terminal(job) as terminal:
        begun(job)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ends() == 130
    (tmp_path / "work" / "go").touch()
    ended = job.command("resume", job.name, "--plain")
    assert ended.returncode == 0, ended.stdout + ended.stderr
