"""The life of an operator whose only controller is that of greetings."""

from __future__ import annotations

import asyncio
import ctypes
import signal

from integration.operator.greetings import make
from trainingjob_operator.engine.daemon.config import read
from trainingjob_operator.engine.daemon.serve import serve
from trainingjob_operator.engine.settings import EngineSettings


def live(environ: dict[str, str]) -> None:
    """The whole life of an operator that looks after greetings alone, until SIGTERM."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    async def serving() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(read(environ, EngineSettings), environ, stop, [make])

    asyncio.run(serving())
