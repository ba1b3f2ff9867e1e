"""`python -m trainingjob_agent`: reads the environment, runs the agent, leaves its last words. Effects.

The only place of the agent that touches its environment, signals and exit code.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from trainingjob_agent.agent import Agent
from trainingjob_agent.answers import Answers
from trainingjob_agent.history import History
from trainingjob_agent.link import Peer
from trainingjob_agent.process import orphans
from trainingjob_agent.process.output import Console, ConsoleHandler
from trainingjob_agent.settings import Settings
from trainingjob_agent.trouble import Trouble
from trainingjob_agent.uploads import Uploads
from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.contract.runtime import PREFIX, ExitCode, Termination, WorkerEnvironment
from trainingjob_api.contract.tls import client_context
from trainingjob_api.spec.errors import explain
from trainingjob_api.spec.job import JobSpec
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store

logger = logging.getLogger("trainingjob_agent")
_MAX_WORDS = 4096


def build(settings: Settings, console: Console) -> Agent:
    """Put an agent together; on the event loop of the main thread.

    Raises:
        ValueError: the storage or the certificate cannot be as they are given.
    """
    told, checkpoint = settings.told, settings.spec.checkpoint
    storage = checkpoint.storage
    store = open_store(storage.uri, storage.endpoint_url, storage.region, settings.environ)
    trouble = Trouble()
    answers = Answers(store, trouble)
    journal = Journal(store, told.job_uid, told.job, told.build, checkpoint.adopt, time.time, keep=checkpoint.keep)

    def history(moved: Callable[[LogPosition], None]) -> History:
        return History(store, journal, keep=checkpoint.keep, attempts=settings.attempts, trouble=trouble, moved=moved, answers=answers)

    peer = Peer(told.rendezvous, client_context(told.rendezvous_certificate), told.token)
    return Agent(settings, peer, Uploads(store, settings.attempts, trouble, answers), history, console, trouble)


async def work(settings: Settings, console: Console) -> Termination:
    """Run an agent to its end; the first SIGTERM or SIGINT asks it to leave, the second one makes it."""
    agent = build(settings, console)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.leave)
    orphans.adopt()
    loop.add_signal_handler(signal.SIGCHLD, orphans.reap)
    return await agent.run()


def leave_words(words: Termination, path: str) -> None:
    """Write the termination message, cut to what Kubernetes takes."""
    text = words.model_dump_json()
    while len(text.encode()) > _MAX_WORDS:
        words = words.model_copy(update={"log": None} if words.log is not None else {"message": words.message[: len(words.message) // 2]})
        text = words.model_dump_json()
    try:
        Path(path).write_text(text)
    except OSError as error:
        logger.warning("the last words cannot be written to %s (%s): %s", path, error.strerror, text)


def main() -> int:
    """The process; returns its exit code."""
    console = Console()
    logging.basicConfig(level=logging.INFO, handlers=[ConsoleHandler(console)], format="[agent] %(levelname)s %(message)s")
    path = os.environ.get(PREFIX + "TERMINATION_LOG", WorkerEnvironment.model_fields["termination_log"].default)
    try:
        words = asyncio.run(work(Settings.read(os.environ), console))
    except ValueError as error:
        words = Termination(code=ExitCode.USER_ERROR, message=_explained(error)[:1024])
        logger.error("%s", words.message)
    except Exception as error:
        logger.exception("the agent failed")
        words = Termination(code=ExitCode.CRASHED, message=f"the agent failed: {type(error).__name__}: {error}"[:1024])
    leave_words(words, path)
    console.close()
    return words.code


def _explained(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    if error.title == JobSpec.__name__:
        return "; ".join(explain(error, JobSpec))
    return "; ".join(f"{PREFIX}{'.'.join(map(str, part['loc'])).upper()}: {part['msg']}" for part in error.errors(include_input=False))


if __name__ == "__main__":
    # Not sys.exit: a thread that hangs in a dead object store must not keep the worker from ending.
    # The console has been given its time to write; flushing stdout here would wait for whoever does not read it.
    os._exit(main())
