"""The life of an operator whose only controller is that of greetings."""

from __future__ import annotations

import asyncio

from integration.operator.greetings import make
from integration.operator.program import end_with_parent
from trainingjob_operator.engine.daemon.config import read
from trainingjob_operator.engine.daemon.program import end_on_signals
from trainingjob_operator.engine.daemon.serve import serve
from trainingjob_operator.engine.settings import EngineSettings


def live(environ: dict[str, str]) -> None:
    """Serve greetings in a process of its own until SIGTERM."""
    end_with_parent()
    asyncio.run(_serve(environ))


async def _serve(environ: dict[str, str]) -> None:
    stop = asyncio.Event()
    end_on_signals(stop)
    await serve(read(environ, EngineSettings), environ, stop, [make])
