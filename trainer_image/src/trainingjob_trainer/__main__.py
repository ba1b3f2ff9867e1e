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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from trainingjob_agent.stamp import StampWriter
from trainingjob_api.contract.channel import ProcessEnvironment, UserError
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.spec.job import JobSpec
from trainingjob_trainer.channel import Channel
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.checks.imports import find_users_modules
from trainingjob_trainer.checks.mistakes import UserMistake, blame, ended_by_itself, first_mistake
from trainingjob_trainer.checks.returned import batch_of
from trainingjob_trainer.recovery import Member
from trainingjob_trainer.reporting import Reporter
from trainingjob_trainer.session import build
from trainingjob_trainer.transport.watched import WatchedData, WatchedTransport

logger = logging.getLogger("trainingjob_trainer")
_LAST_WORDS_SECONDS = 5.0


def main(environ: Mapping[str, str]) -> int:
    """Train as a member of the job; the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the agent's word counts
    environment = ProcessEnvironment.from_env(environ)
    find_users_modules(environment.import_path)
    channel = Channel(socket.socket(fileno=environment.channel), lost=lambda: os._exit(ExitCode.CRASHED))
    channel.start()
    try:
        return _life(environment, channel, _task(environment))
    finally:
        channel.flush(_LAST_WORDS_SECONDS)


def _life(environment: ProcessEnvironment, channel: Channel, task: str) -> int:
    try:
        _take_part(environment, channel, task)
    except (UserMistake, ValidationError) as mistake:
        return _give_up(channel, mistake)
    except SystemExit as ending:
        return _give_up(channel, ended_by_itself(ending, task))
    except Exception as error:
        logger.exception("the training process failed")
        channel.send(blame(error, task, batch_of.__code__))
        return ExitCode.CRASHED
    return ExitCode.DONE


def _give_up(channel: Channel, mistake: ValueError) -> int:
    """Tell the agent that the job cannot work as it is; the exit code. A traceback of the user's own code goes into the log."""
    logger.error("%s", mistake, exc_info=mistake.__cause__)
    channel.send(UserError(message=str(mistake)))
    return ExitCode.USER_ERROR


def _take_part(environment: ProcessEnvironment, channel: Channel, task: str) -> None:
    stamp = StampWriter(environment.stamp)
    with _told_at_once(task, environment.is_first_life):
        session = build(
            environment,
            channel.ask_store,
            watch=lambda transport: WatchedTransport(transport, stamp),
            watch_data=lambda dataset: WatchedData(dataset, stamp),
            tell=channel.send,
        )
    arena = SnapshotArena(channel, session.state, session.spec.workers.replicas * session.spec.workers.processes_per_worker)
    member = Member(environment.member(), session, channel, Reporter(channel, stamp, session.total_steps), arena)
    channel.listen(member.hear)
    with _told_at_once(task, lambda: session.state.step == 0):
        member.run()


@contextmanager
def _told_at_once(task: str, first: Callable[[], bool]) -> Iterator[None]:
    """Before the first step there is nothing to lose: an exception that the task's code raises for certain ends the job."""
    try:
        yield
    except UserMistake:
        raise
    except Exception as error:
        mistake = first_mistake(error, task) if first() else None
        if mistake is None:
            raise
        raise mistake from error


def _task(environment: ProcessEnvironment) -> str:
    task = JobSpec.model_validate_json(environment.config).training.task
    return "" if task is None else task.class_name.partition(":")[0]


if __name__ == "__main__":
    code = main(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # Past destructors: those of abandoned process groups may wait for ever.
    os._exit(code)
