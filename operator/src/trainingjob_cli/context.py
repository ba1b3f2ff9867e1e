"""What all commands share: the options they have in common, and how a mistake of the user's is told. Effects: the terminal.

Every mistake is one message on stderr and exit code 2; a traceback only with --debug.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.errors import explain
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.engine.values import Manifest, ResourceKey
from trainingjob_operator.local.folder import default_root
from trainingjob_operator.local.jobs import LocalJobs, unknown
from trainingjob_storage.errors import StorageError

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
_NARROWEST = 100
"""A table is wrapped by the terminal rather than its words being cut."""
_FILE_WIDTH = 240
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="FOLDER", envvar="TRAININGJOB_STATE_DIR", help="Where local jobs are kept.", show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The job's namespace.")]


def job_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of local jobs that begin so: what a shell completes."""
    jobs = jobs_in(context.params.get("state_dir"))
    return sorted({key.name for key in jobs.all() if key.name.startswith(incomplete)})


Name = Annotated[str, typer.Argument(metavar="NAME", help="The job's name.", show_default=False, autocompletion=job_names)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The TrainingJob's manifest; - is stdin.", show_default=False)]


class Outcome(Enum):
    """How a run of the command ended."""

    COMPLETE = auto()
    FAILED = auto()
    SUSPENDED = auto()
    KILLED = auto()
    DELETED = auto()


class Mistake(ValueError):
    """Something the user can mend: the message names the option or field, and the fix."""


@dataclass
class Debugging:
    """Whether --debug was given."""

    on: bool = False


DEBUGGING = Debugging()


def console() -> Console:
    """Where results go."""
    terminal = Console(highlight=False)
    if terminal.is_terminal and terminal.width >= _NARROWEST:
        return terminal
    return Console(highlight=False, width=_NARROWEST if terminal.is_terminal else _FILE_WIDTH)


def say(text: str) -> None:
    """Print a remark beside the results, on stderr. Where that is gone, there is nobody to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def jobs_in(state_dir: Path | None) -> LocalJobs:
    """The jobs of the chosen state folder."""
    return LocalJobs((state_dir or default_root(os.environ)).absolute())


def key_of(name: str, namespace: str) -> ResourceKey:
    """The job's key.

    Raises:
        Mistake: they are no names.
    """
    for option, text in (("NAME", name), ("--namespace", namespace)):
        if not _NAME.fullmatch(text):
            raise Mistake(f"{option} {text!r} is no name: lower-case letters, digits and dashes")
    return job_key(namespace, name)


def find(jobs: LocalJobs, key: ResourceKey) -> TrainingJob:
    """The job `key`.

    Raises:
        Mistake: there is none; the message names those that there are.
    """
    manifest = jobs.read(key)
    if manifest is None:
        raise Mistake(unknown(key, jobs.all()))
    return job_of(manifest)


def job_of(manifest: Manifest) -> TrainingJob:
    """The manifest as a model.

    Raises:
        Mistake: it is not valid; each line names a field and the fix.
    """
    try:
        return TrainingJob.model_validate(manifest)
    except ValidationError as error:
        raise Mistake("\n".join(explain(error, TrainingJob))) from error


def guarded(command: Callable[[], object]) -> int:
    """Run the command line; what the user can mend becomes one message.

    Returns:
        The exit code.
    """
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (ValueError, OSError, StorageError) as error:
        if DEBUGGING.on:
            raise
        say(f"trainingjob: {_in_words(error)}")
        return EXIT_MISTAKE
    return 0


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
