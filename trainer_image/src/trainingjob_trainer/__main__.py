"""The training process, as its agent starts it: `python -m trainingjob_trainer`. Effects: all of them.

Ends with 0 when the job is done or has failed for good, with USER_ERROR after telling the agent what is wrong, with
CRASHED, a traceback and a word to the agent otherwise. It never ends by itself for a lost peer.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping

from pydantic import ValidationError

from trainingjob_agent.stamp import StampWriter
from trainingjob_api.contract.channel import ProcessEnvironment, UserError
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.spec.job import JobSpec
from trainingjob_trainer.channel import Channel
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.recovery import Member
from trainingjob_trainer.reporting import Reporter
from trainingjob_trainer.session import UserMistake, blame, build
from trainingjob_trainer.transport.watched import WatchedData, WatchedTransport

log = logging.getLogger("trainingjob_trainer")


def main(environ: Mapping[str, str]) -> int:
    """Train as a member of the job; the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the agent's word counts
    environment = ProcessEnvironment.from_env(environ)
    channel = Channel(socket.socket(fileno=environment.channel), lost=lambda: os._exit(ExitCode.CRASHED))
    channel.start()
    try:
        _take_part(environment, channel)
    except (UserMistake, ValidationError) as mistake:
        log.error("%s", mistake)
        channel.send(UserError(message=str(mistake)))
        return ExitCode.USER_ERROR
    except Exception as error:
        log.exception("the training process failed")
        channel.send(blame(error, _task(environment)))
        return ExitCode.CRASHED
    return ExitCode.DONE


def _take_part(environment: ProcessEnvironment, channel: Channel) -> None:
    stamp = StampWriter(environment.stamp)
    session = build(
        environment,
        channel.ask_store,
        watch=lambda transport: WatchedTransport(transport, stamp),
        watch_data=lambda dataset: WatchedData(dataset, stamp),
    )
    arena = SnapshotArena(channel, session.state)
    member = Member(environment.member(), session, channel, Reporter(channel, stamp, session.total_steps), arena)
    channel.listen(member.hear)
    member.run()


def _task(environment: ProcessEnvironment) -> str:
    task = JobSpec.model_validate_json(environment.config).training.task
    return "" if task is None else task.class_name.partition(":")[0]


if __name__ == "__main__":
    code = main(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # Past destructors: those of abandoned process groups may wait for ever.
    os._exit(code)
