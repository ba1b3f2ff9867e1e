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

from trainingjob_api.contract.runtime import PREFIX, ExitCode, RendezvousEnvironment
from trainingjob_rendezvous.server import Server

logger = logging.getLogger("trainingjob.rendezvous")


async def serve(environment: RendezvousEnvironment) -> ExitCode:
    """Serve until a signal says to end, or a newer rendezvous is known."""
    server = Server(environment)
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


def main() -> int:
    """Read the environment, serve, return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s rendezvous: %(message)s")
    try:
        environment = RendezvousEnvironment.from_env(os.environ)
    except ValidationError as error:
        wrong = {PREFIX + str(item["loc"][0]).upper(): item["msg"] for item in error.errors(include_input=False)}
        logger.error("%s", "; ".join(f"{name}: {message}" for name, message in wrong.items()))
        return ExitCode.USER_ERROR
    return asyncio.run(serve(environment))


if __name__ == "__main__":
    sys.exit(main())
