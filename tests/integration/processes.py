"""Servers that tests start on this machine: on a free port, with their output in a file, and never outliving pytest."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
TAIL_BYTES = 4000
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
"""Starts all servers, and lives as long as pytest: a server dies with the thread that started it, and a test's thread may end first."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that the kernel gives to nobody as the near end of a connection.

    So it can be left and taken again: a server that is started anew finds its port free.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(10_000, first), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("100 ports of 127.0.0.1 are all taken")


class Server:
    """A running program."""

    def __init__(self, command: Sequence[str | Path], output: Path, environ: Mapping[str, str]) -> None:
        self.name = Path(command[0]).name
        self.output = output
        words = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *map(str, command)]
        self._process = _STARTER.submit(_started, words, output, dict(environ)).result()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lives(self) -> bool:
        """True; a server that has ended by itself is a failure, told with the end of its output.

        Raises:
            AssertionError: when it has ended.
        """
        code = self._process.poll()
        assert code is None, f"{self.name} ended with {code}:\n{self.tail()}"
        return True

    def running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def stop(self, number: signal.Signals = signal.SIGKILL, seconds: float = 60.0) -> int:
        """Send it a signal, wait for its end, and return its exit code."""
        self._process.send_signal(number)
        return self._process.wait(seconds)

    def tail(self) -> str:
        """The end of its output."""
        return self.output.read_bytes()[-TAIL_BYTES:].decode(errors="replace")


def _started(words: list[str], output: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with output.open("ab") as written:
        return subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT)
