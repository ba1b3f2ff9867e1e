"""`python -m trainingjob_operator`: the operator in a cluster. Effect: the program's entry point.

Ends with 0 on SIGTERM, with 64 if its configuration is wrong, with 1 if a part of it has died.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys

from trainingjob_api.contract import tls
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_operator.engine.cluster.lease import LostLeaseError
from trainingjob_operator.engine.daemon.config import Config, read
from trainingjob_operator.engine.daemon.program import end_on_signals
from trainingjob_operator.engine.daemon.serve import serve
from trainingjob_operator.engine.settings import Misconfigured
from trainingjob_operator.registry import CONTROLLERS, Settings

logger = logging.getLogger("trainingjob_operator")


async def _run(config: Config[Settings]) -> None:
    stop = asyncio.Event()
    end_on_signals(stop)
    await serve(config, os.environ, stop, CONTROLLERS)


def main() -> int:
    """The process; returns its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    os.environ.setdefault("USER", "trainingjob-operator")  # kopf asks for it, and a container's user has no name
    try:
        config = read(os.environ, Settings)
        logging.getLogger().setLevel(config.log_level)
        # What has been imported stays for ever: looking through it for garbage costs more than all the work. And no more than 10,000
        # objects wait to be looked at: ten times as many make no pass faster, and the memory grows by 15 MiB before it stands still.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 50, 100)
        tls.small_buffers()
        asyncio.run(_run(config))
    except Misconfigured as error:
        logger.error("%s", error)
        return ExitCode.USER_ERROR
    except LostLeaseError as error:
        logger.warning("%s: this operator ends, and is to be started again as its standby", error)
        return ExitCode.CRASHED
    except Exception:
        logger.exception("the operator has failed, and is to be started again")
        return ExitCode.CRASHED
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
