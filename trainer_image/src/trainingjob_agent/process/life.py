"""Starts one child process, watches it to its end, and kills it with all its descendants. Effects: processes.

Works for a training process and for a user's script alike. It knows nothing of the rendezvous; what the end means is
`failure`'s to say. The end is the process's own, not its output's: a helper that holds the pipe open keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainingjob_agent.process import orphans
from trainingjob_agent.process.failure import count_oom_kills
from trainingjob_agent.process.output import LifeLog
from trainingjob_api.contract.runtime import HASH_SEED, PREFIX, hash_seed

_SHIM = Path(__file__).with_name("shim.py")
_PIECE = 64 << 10
_LAST_PIECES = 32
"""So much is read of what was printed before the end: a pipe's content and more. A helper that lives on may never stop printing."""
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class End:
    """How a life ended."""

    exit_code: int
    """Negative: minus the signal."""
    lived_seconds: float
    oom_kills: int
    """Processes of this container killed for memory meanwhile."""


def child_environment(own: Mapping[str, str], told: Mapping[str, str], seed: int) -> dict[str, str]:
    """The agent's environment without its own settings (its token above all), plus what the child is told.

    Python's hashes of texts follow from the job's seed, unless the user fixes them: whatever hangs on the order of a set of texts (a
    vocabulary, classes) is the same in every worker and after every restart.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(PREFIX)}
    kept.setdefault("PYTHONUNBUFFERED", "1")  # a life that is killed would take its last words along
    kept.setdefault(HASH_SEED, hash_seed(seed))
    return kept | dict(told)


class Life:
    """One child process. Use it from the main thread only: the kernel ties the child to the thread that started it."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, log: LifeLog) -> None:
        self._process = process
        self._mark = mark
        self._log = log
        self._started = time.monotonic()
        self._oom_kills = count_oom_kills()
        self._exited, self._over = asyncio.Event(), asyncio.Event()
        self._until: float | None = None
        """When the grace of SIGTERM is over, on the monotonic clock."""
        assert process.stdout is not None
        self._pipe = process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe.fileno(), self._read)
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, self._has_exited, descriptor)

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: LifeLog, descriptors: Sequence[int] = ()) -> Life:
        """Start `command` in a session of its own, with `descriptors` inherited.

        Raises:
            OSError: there can be no such process: command and environment are too long (E2BIG), or the machine is out of something.
            ValueError: a word of the command has a zero byte in it.
        """
        mark = uuid.uuid4().hex
        with orphans.beginning():
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), *command],
                env=dict(environment) | {orphans.MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=tuple(descriptors),
                start_new_session=True,
            )
            orphans.born(process.pid, mark)
        return cls(process, mark, log)

    @property
    def pid(self) -> int:
        """The process's id, and its group's."""
        return self._process.pid

    async def wait(self) -> End:
        """Wait for the end, kill what it left behind, and take the last of its output."""
        try:
            await self._exited.wait()
            lived, exit_code = time.monotonic() - self._started, self._exit_code()
            if exit_code == -signal.SIGTERM and self._until is not None:
                await self._let_the_rest_end(self._until)
            self.signal(signal.SIGKILL)  # its group. It is not reaped yet: the number is still its own
            await asyncio.to_thread(orphans.end_left_behind, self._mark)
            self._take_the_last()
            return End(exit_code, lived, max(0, count_oom_kills() - self._oom_kills))
        finally:
            self._close()

    def signal(self, number: signal.Signals) -> None:
        """Signal the process and its group; nothing happens if it has ended and was waited for."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def end(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL for who is still there after `grace_seconds`. `wait`, which somebody must await, tells the end.

        The signal goes to the process alone: it looks after what it has started, such as the workers of a data loader. One that has no
        handler for it, such as a shell, leaves its group the rest of the grace. Asked for twice, the earlier end of the grace counts.
        """
        until = time.monotonic() + grace_seconds
        self._until = until if self._until is None else min(self._until, until)
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGTERM)  # not send_signal: that would reap it
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                await self._over.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._over.wait()

    async def _let_the_rest_end(self, until: float) -> None:
        self.signal(signal.SIGTERM)
        # The kernel tells nobody when a group is empty.
        while time.monotonic() < min(until, self._until or until) and orphans.group_lives(self.pid):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

    def _has_exited(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._exited.set()
        if self._over.is_set():
            self._bury()

    def _exit_code(self) -> int:
        """Of a process that has ended and is not reaped yet."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _read(self) -> bool:
        """Take what has been printed; False: there is nothing more for now, or for ever."""
        try:
            piece = os.read(self._pipe.fileno(), _PIECE)
        except BlockingIOError:
            return False
        if piece:
            self._log.feed(piece)
        else:  # every holder has closed it
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        return bool(piece)

    def _take_the_last(self) -> None:
        for _ in range(_LAST_PIECES):
            if not self._read():
                break
        self._log.finish()

    def _close(self) -> None:
        """Let go of the process, at its end or where nobody waits for it any more."""
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()
        if self._exited.is_set():
            self._bury()
        self._over.set()

    def _bury(self) -> None:
        self._process.wait()
        orphans.buried(self.pid)
