"""Training processes as an agent sees them, and the process that forks them for the tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainingjob_agent.stamp import StampPage
from trainingjob_api.contract.channel import NeedArena, OpenAttempt, Pace, Standing
from trainingjob_api.contract.messages import MemberId, Phase

DEADLINE = 30.0


class Zygote:
    """Makes training processes; see zygote.py."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        tests = Path(__file__).parents[2]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **threads, "PYTHONPATH": str(tests), "PYTHONWARNINGS": "ignore"},
        )
        theirs.close()
        self.control = ours
        self.changed = threading.Condition()
        self.codes: dict[int, int] = {}
        self._started: list[int] = []
        self._ready = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.control.makefile("rb"):
            word = json.loads(line)
            with self.changed:
                self._ready = self._ready or "ready" in word
                if "started" in word:
                    self._started.append(word["started"])
                if "ended" in word:
                    self.codes[word["ended"]] = word["code"]
                self.changed.notify_all()

    def start(self, environ: dict[str, str], descriptors: list[int]) -> int:
        with self.changed:
            assert self.changed.wait_for(lambda: self._ready, 6 * DEADLINE), "the zygote did not start"
            before = len(self._started)
            socket.send_fds(self.control, [json.dumps(environ).encode()], descriptors)
            assert self.changed.wait_for(lambda: len(self._started) > before, DEADLINE)
            return self._started[-1]

    def ended(self, pid: int) -> int:
        """The exit code of a process, once it has one."""
        with self.changed:
            assert self.changed.wait_for(lambda: pid in self.codes, DEADLINE), f"{pid} has not ended"
            return self.codes[pid]

    def close(self) -> None:
        self.control.shutdown(socket.SHUT_RDWR)
        self.process.wait(6 * DEADLINE)  # it may be starting yet
        self._reader.join(DEADLINE)
        self.control.close()


@dataclass
class Trainee:
    """One training process, as its agent knows it."""

    member: MemberId
    slot: int
    pid: int
    connection: socket.socket
    stamp: StampPage
    arena: int = -1
    arena_bytes: int = 0
    first: int = 0
    """The number of the arena's first buffer."""
    lent: int = 0
    needs: list[NeedArena] = field(default_factory=list)
    standing: Standing | None = None
    standings: list[Standing] = field(default_factory=list)
    paces: list[Pace] = field(default_factory=list)
    opened: list[OpenAttempt] = field(default_factory=list)
    gone: bool = False
    reader: threading.Thread = field(default_factory=threading.Thread)

    def say(self, message: Any) -> None:
        try:
            self.connection.sendall(message.model_dump_json().encode() + b"\n")
        except OSError:
            self.gone = True

    def idle(self) -> bool:
        return self.standing is not None and self.standing.phase is Phase.IDLE

    def running(self) -> bool:
        return self.standing is not None and (self.standing.phase.running() or self.standing.phase is Phase.FORMED)
