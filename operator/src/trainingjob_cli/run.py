"""`trainingjob run`: make or update the local job, run it to its end, and say what came of it. Effects."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainingjob_api.contract.messages import MemberId
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage
from trainingjob_cli import manifest
from trainingjob_cli.archive import check_owner, clear, last_words, open_storage, owner_of, read_history
from trainingjob_cli.archive import stored as stored_keys
from trainingjob_cli.changes import ChangeRefusedError, updated, with_options
from trainingjob_cli.context import (
    DEBUGGING,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    File,
    Mistake,
    Outcome,
    StateDir,
    console,
    find,
    job_of,
    jobs_in,
    say,
)
from trainingjob_cli.probes.claim import beginning, refusal
from trainingjob_cli.probes.presence import living
from trainingjob_cli.rendering import tables
from trainingjob_cli.rendering.display import SafeDisplay, make_display
from trainingjob_operator.controllers.training_job.policy import validity
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.controllers.training_job.status.script import stopped_words
from trainingjob_operator.engine.values import Manifest, ResourceKey
from trainingjob_operator.local import given
from trainingjob_operator.local.clearing import end_all
from trainingjob_operator.local.folder import JobFolder, in_charge
from trainingjob_operator.local.jobs import LocalJobs
from trainingjob_storage.errors import StorageError
from trainingjob_storage.store import Store

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Use so many workers, whatever the manifest says.", show_default=False)
]
StorageUri = Annotated[str | None, typer.Option("--storage", metavar="URI", help="Keep checkpoints here instead.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the manifest; may be given again.", show_default=False),
]
Chosen = Annotated[str | None, typer.Option("--name", help="The job's name, where FILE holds several.", show_default=False)]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew: delete the job of that name, and what it has stored.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Shown(StrEnum):
    """Whose output `run` shows."""

    RANK0 = "rank0"
    ALL = "all"
    NONE = "none"

    def wants(self, member: MemberId) -> bool:
        """Return whether this process' output is shown."""
        return self is Shown.ALL or (self is Shown.RANK0 and (member.worker, member.process) == (0, 0))


Logs = Annotated[Shown, typer.Option("--logs", help="Whose output to show.")]
Plain = Annotated[bool, typer.Option("--plain", help="Print lines instead of a live view.")]


def run(
    file: File,
    workers: Workers = None,
    storage: StorageUri = None,
    settings: Overrides = None,
    name: Chosen = None,
    fresh: Fresh = False,
    yes: Yes = False,
    logs: Logs = Shown.RANK0,
    state_dir: StateDir = None,
    plain: Plain = False,
) -> None:
    """Train on this machine. The same command resumes; Ctrl-C saves and stops."""
    jobs = jobs_in(state_dir)
    job, secrets = requested(file, name, settings, workers, storage, jobs.storage)
    key = job_key(job.metadata.namespace, job.metadata.name)
    if fresh:
        launchable(job)
        start_anew(jobs, key, open_storage(job.spec.checkpoint.storage, secrets), sure=yes)
    with in_charge(jobs.folder(key)):
        keep(jobs, key, job, file.absolute().parent, secrets)
        given.keep(jobs.folder(key), secrets)
        outcome = execute(jobs, key, plain=plain, shown=logs)
    said = [("--workers", workers), ("--storage", storage), ("--name", name), *(("--set", setting) for setting in settings or [])]
    options = [str(word) for option, value in [*said, ("--state-dir", state_dir)] if value is not None for word in (option, value)]
    again = ["run", str(file), *options] if str(file) != manifest.STDIN else ["resume", key.name]
    conclude(jobs, key, outcome, shlex.join(["trainingjob", *again]))


def requested(
    file: Path, name: str | None, settings: list[str] | None, workers: int | None, storage: str | None, place: manifest.Place | None = None
) -> tuple[TrainingJob, tuple[Manifest, ...]]:
    """Read the job that `run` and `plan` are asked for, with their options over its manifest, and the Secrets beside it.

    A manifest that names no storage gets `storage`, or what `place` says; None: it has to name one.

    Raises:
        ManifestError: the file holds no such job.
        Mistake: the job is not valid with the options.
    """
    found = manifest.bundle(file, name, settings or [], place if storage is None else lambda _namespace, _name: storage)
    for note in found.notes:
        say(f"note: {note}")
    return with_changes(found.job, workers, storage), found.secrets


def with_changes(job: TrainingJob, workers: int | None, storage: str | None) -> TrainingJob:
    """The job with the options of `run` over its manifest.

    Raises:
        Mistake: it is not valid with them.
    """
    spec, notes = with_options(json.loads(job.spec.to_json()), workers, storage)
    for note in notes:
        say(f"note: {note}")
    return job_of({**json.loads(job.model_dump_json(by_alias=True, exclude={"spec", "status"}, exclude_none=True)), "spec": spec})


def keep(jobs: LocalJobs, key: ResourceKey, job: TrainingJob, directory: Path, secrets: tuple[Manifest, ...] = ()) -> None:
    """Make the job, or bring the one of that name up to date. One that has stored nothing yet is replaced where it must be.

    Raises:
        Mistake: its storage is another job's; or nothing of it was ever started, and its script's launcher would not train as one job;
            or it failed before it trained, and something of it lives still.
        ChangeRefusedError: the manifest differs in a field that cannot change.
    """
    stored, spec = jobs.read(key), json.loads(job.spec.to_json())
    if stored is None or not stored.get("status", {}).get("attempt"):
        launchable(job)
    whole = {**json.loads(job.model_dump_json(by_alias=True, exclude={"spec", "status"}, exclude_none=True)), "spec": spec}
    found = beginning(stored, job.spec.checkpoint, secrets, jobs.past(key))
    if taken := refusal(found, job.spec.checkpoint):
        raise Mistake(taken)
    if stored is None:
        jobs.create(whole, directory, Path.cwd())
        return
    untrained = found.failed and not found.has_trained()
    if untrained and living(jobs.folder(key)):
        raise Mistake(f"processes of the earlier run live still: trainingjob delete {key.name} ends them; then run it again")
    try:
        if untrained:
            raise ChangeRefusedError("it failed before it trained: perhaps what was wrong with it is right now")
        jobs.edit(key, lambda known: updated(known, spec, key.name, complete=found.complete))
    except ChangeRefusedError:
        if found.has_trained() or living(jobs.folder(key)):
            raise
        launchable(job)
        jobs.replace(whole, directory, Path.cwd())
        return
    if jobs.move(key, directory, Path.cwd()):
        say(f"note: from now on job {key.name} works in {Path.cwd()}, where this command was called")


def launchable(job: TrainingJob) -> None:
    """Refuse a job that is to start for the first time with a launcher that would not train as one job.

    Raises:
        Mistake: it names the field and the line to write.
    """
    if problem := validity.launch(job.spec):
        raise Mistake(problem)


def start_anew(jobs: LocalJobs, key: ResourceKey, store: Store, *, sure: bool) -> None:
    """Delete the job of that name, ending its processes, and all that it has stored, or one of that name that was deleted before.

    Args:
        jobs: the state folder's.
        key: the job.
        store: the storage that it is to have. If the job has another one now, that is cleared too.
        sure: do not ask.

    Raises:
        Mistake: the storage belongs to another job, or the user thinks again.
    """
    body = jobs.read(key)
    uid = "" if body is None else body["metadata"]["uid"]
    check_owner(store, {uid, *jobs.past(key)}, "give another place: --storage URI")
    stores = [store, *([] if body is None else _former(body, jobs.folder(key), store))]
    for each in stores:
        held = stored_keys(each)
        asked = f"Delete the {len(held)} objects (checkpoints, log, output, model) that job {key.name} has below {each.uri}?"
        if held and not sure and not typer.confirm(asked):
            raise Mistake("nothing was deleted")
    if body is not None:
        with in_charge(jobs.folder(key)):
            end_all(jobs.folder(key), os.environ, jobs.root)
            jobs.remove(key)
    for each in stores:
        clear(each)


def _former(body: Manifest, folder: JobFolder, store: Store) -> list[Store]:
    """The storage that the job `body` has so far, if it is another one than `store`, and the job's own."""
    place = Storage.model_validate(body["spec"]["checkpoint"]["storage"])
    if place.uri.rstrip("/") == store.uri.rstrip("/"):
        return []
    try:
        former = open_storage(place, given.read(folder))
        owner = owner_of(former)
    except StorageError as error:
        say(f"note: {place.uri} cannot be read, so what the job has there stays: {error}")
        return []
    return [former] if owner is not None and owner.owner_uid == body["metadata"]["uid"] else []


def execute(jobs: LocalJobs, key: ResourceKey, *, plain: bool, shown: Shown = Shown.RANK0) -> Outcome:
    """Run the job until it has ended or was interrupted. The caller holds its charge."""
    from trainingjob_cli.session import Session  # only here: the other commands begin a second sooner without the stream's libraries

    _log_to(jobs.folder(key))
    display = SafeDisplay(make_display(Console(highlight=False), plain=plain), _display_lost)

    async def body() -> Outcome:
        return await Session(jobs, key, os.environ, display, shown.wants).run()

    try:
        return asyncio.run(body())
    finally:
        display.close()


def conclude(jobs: LocalJobs, key: ResourceKey, outcome: Outcome, again: str) -> None:
    """Say how it ended, and exit accordingly.

    Raises:
        typer.Exit: with 1 for a failed job, 130 for an interrupted one.
    """
    if outcome is Outcome.DELETED:
        say(f"job {key.name} was deleted")
        raise typer.Exit(EXIT_FAILED)
    job = find(jobs, key)
    if outcome is Outcome.COMPLETE:
        terminal = Console(highlight=False)
        shown = terminal if terminal.is_terminal else console()  # this table folds its words by itself
        shown.print(tables.result(job, read_history(job.spec.checkpoint.storage, given.read(jobs.folder(key)))))
        return
    if outcome is Outcome.FAILED:
        say(tables.failure(job, last_words(jobs.folder(key), job)))
        raise typer.Exit(EXIT_FAILED)
    kept = stopped_words(job)
    if outcome is Outcome.SUSPENDED:
        say(f"{kept}; the same command resumes: {again}")
    else:
        say(f"ended at once; {kept}; to resume: {again}")
    raise typer.Exit(EXIT_INTERRUPTED)


def _display_lost(error: OSError) -> None:
    logging.getLogger(__name__).warning("nothing is shown any more, and the job goes on: %s", error)


class _LogFile(logging.FileHandler):
    """Lines that a full disk does not take are lost; the terminal is not told of each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _log_to(folder: JobFolder) -> None:
    """The operator's own log: a file, for the terminal belongs to the view."""
    handlers: list[logging.Handler] = [_LogFile(folder.path / "operator.log", encoding="utf-8")]
    if DEBUGGING.on:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(level=logging.INFO, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
