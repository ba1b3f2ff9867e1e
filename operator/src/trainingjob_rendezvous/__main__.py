"""`python -m trainingjob_rendezvous`: the rendezvous of one job, told all by its environment. Effect: the program's entry point.

Logs one line an event to stderr. Ends with 0 on SIGTERM, with ExitCode.FENCED if there is a rendezvous of a higher epoch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from pydantic import ValidationError

from trainingjob_api.contract import tls
from trainingjob_api.contract.runtime import PREFIX, ExitCode, RendezvousEnvironment
from trainingjob_rendezvous.server import Server

logger = logging.getLogger("trainingjob.rendezvous")


async def serve(server: Server, environment: RendezvousEnvironment) -> ExitCode:
    """Serve until a signal says to end, or a newer rendezvous is known."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopped.set)
    port = await server.start()
    logger.info("rendezvous of %s, epoch %d, listens on %s:%d", environment.job, environment.epoch, environment.bind, port)
    try:
        await server.stopped.wait()
    finally:
        await server.close()
    if server.rendezvous.stood_down is not None:
        logger.info("stands down: %s", server.rendezvous.stood_down)
        return ExitCode.FENCED
    logger.info("ends")
    return ExitCode.DONE


def _variable(location: tuple[int | str, ...]) -> str:
    """The variable that is wrong, or the field of the intent in TRAININGJOB_INTENT."""
    name = str(location[0]) if location else ""
    return PREFIX + name.upper() if name in RendezvousEnvironment.model_fields else f"{PREFIX}INTENT {name}"


def main() -> int:
    """Read the environment, serve, return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s rendezvous: %(message)s")
    try:
        environment = RendezvousEnvironment.from_env(os.environ)
        server = Server(environment)
    except ValidationError as error:
        # Not the error itself: it quotes its input, and that holds secrets.
        wrong = [f"{_variable(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        logger.error("%s", "; ".join(wrong))
        return ExitCode.USER_ERROR
    except ValueError as error:
        logger.error("%s", error)
        return ExitCode.USER_ERROR
    tls.small_buffers()
    return asyncio.run(serve(server, environment))


if __name__ == "__main__":
    sys.exit(main())
