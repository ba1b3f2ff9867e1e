"""Starts one child process, watches it to its end, and kills it with all its descendants. Effects: processes.

Works for a training process and for a user's script alike. It knows nothing of the rendezvous; what the end means is
`failure`'s to say.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainingjob_agent.process.failure import count_oom_kills
from trainingjob_agent.process.output import LifeLog
from trainingjob_api.contract.runtime import PREFIX

_SHIM = Path(__file__).with_name("shim.py")
_DRAIN_SECONDS = 1.0


@dataclass(frozen=True)
class End:
    """How a life ended."""

    exit_code: int
    """Negative: minus the signal."""
    lived_seconds: float
    oom_kills: int
    """Processes of this container killed for memory meanwhile."""


def child_environment(own: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without its own settings (its token above all), plus what the child is told."""
    kept = {name: value for name, value in own.items() if not name.startswith(PREFIX)}
    kept.setdefault("PYTHONUNBUFFERED", "1")  # a life that is killed would take its last words along
    return kept | dict(told)


class Life:
    """One child process. Use it from the main thread only: the kernel ties the child to the thread that started it."""

    def __init__(self, process: asyncio.subprocess.Process, log: LifeLog) -> None:
        self._process = process
        self._log = log
        self._started = time.monotonic()
        self._oom_kills = count_oom_kills()
        assert process.stdout is not None
        self._pump = asyncio.create_task(log.pump(process.stdout))

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], log: LifeLog, descriptors: Sequence[int] = ()) -> Life:
        """Start `command` in a session of its own, with `descriptors` inherited."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=tuple(descriptors),
            start_new_session=True,
        )  # fmt: skip
        return cls(process, log)

    @property
    def pid(self) -> int:
        """The process's id, and its group's."""
        return self._process.pid

    async def wait(self) -> End:
        """Wait for the end, kill what it left behind, and take the last of its output."""
        exit_code = await self._process.wait()
        self.signal(signal.SIGKILL)  # its descendants
        await asyncio.wait({self._pump}, timeout=_DRAIN_SECONDS)
        if not self._pump.done():  # somebody left its process group with the pipe in hand
            self._pump.cancel()
            await asyncio.wait({self._pump})
        return End(exit_code, time.monotonic() - self._started, max(0, count_oom_kills() - self._oom_kills))

    def signal(self, number: signal.Signals) -> None:
        """Signal the process and its descendants; nothing happens if they are gone."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def end(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL for who is still there after `grace_seconds`. `wait` tells the end."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()
