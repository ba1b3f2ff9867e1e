"""`trainingjob get | describe | logs | checkpoints`: commands that only look. Effects: reads files and storage, prints."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.spec.errors import explain
from trainingjob_cli import manifest
from trainingjob_cli.archive import outputs, read_history
from trainingjob_cli.context import Mistake, Name, Namespace, StateDir, console, find, job_of, jobs_in, key_of, say
from trainingjob_cli.probes.presence import presence
from trainingjob_cli.rendering import tables
from trainingjob_cli.run import StorageUri
from trainingjob_operator.local import given
from trainingjob_operator.state import JobKey, Manifest

OptionalName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The job's name; all jobs without it.", show_default=False)]
NameOrFile = Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="A local job, or a manifest.", show_default=False)]
Worker = Annotated[int | None, typer.Option("--worker", min=0, help="Only this worker's.", show_default=False)]
SHOWN_EVENTS = 30


def get(name: OptionalName = None, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """List local jobs, with kubectl's columns."""
    jobs = jobs_in(state_dir)
    found = [find(jobs, key_of(name, namespace))] if name else [job_of(body) for key in jobs.all() if (body := jobs.read(key))]
    if found:
        seen = [presence(jobs.folder(JobKey(job.metadata.namespace, job.metadata.name)), job) for job in found]
        console().print(tables.jobs_table([each.marked(job) for each, job in zip(seen, found, strict=True)], datetime.now(UTC)))
        for each, job in zip(seen, found, strict=True):
            if remark := each.remark(job):
                say(f"{job.metadata.name}: {remark}")
    else:
        say(f"no jobs in {jobs.root}: start one with trainingjob run FILE")


def describe(name: Name, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """Show a job's status, conditions and events."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    console().print(tables.description(presence(jobs.folder(key), job).marked(job), jobs.events(key, SHOWN_EVENTS)))


def logs(name: Name, worker: Worker = None, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """Print what the workers printed: every life that is in storage, and what runs now."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    found = False
    for output in outputs(jobs.folder(key), job.spec.checkpoint.storage, worker):
        found = True
        print(f"==> {output.title} <==")
        print(output.text, end="" if output.text.endswith("\n") else "\n")
    if not found:
        say(
            "nothing was printed yet"
            if worker is None
            else f"worker {worker} has printed nothing; workers are 0 to {job.spec.workers.replicas - 1}"
        )


def checkpoints(name: NameOrFile = None, storage: StorageUri = None, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """List what the log in the storage says of every checkpoint."""
    history = read_history(*_storage(name, storage, namespace, state_dir))
    if history.seq < 0:
        say("there is no log in this storage yet")
        return
    console().print(tables.checkpoints_table(history))
    if history.done is not None:
        say(f"done at step {history.done.step}, attempt {history.done.attempt}")


def _storage(name: str | None, uri: str | None, namespace: str, state_dir: Path | None) -> tuple[Storage, tuple[Manifest, ...]]:
    """Where to look, --storage before the job's or the manifest's own, and the Secrets beside the job."""
    if name is None:
        if uri is None:
            raise Mistake("checkpoints: give a job's NAME, a manifest's FILE, or --storage URI")
        try:
            return Storage(uri=uri), ()
        except ValidationError as error:
            raise Mistake(f"--storage: {'; '.join(explain(error, Storage))}") from error
    if name == manifest.STDIN or Path(name).suffix in (".yaml", ".yml", ".json"):
        found = manifest.bundle(name)
        job, secrets = found.job, found.secrets
    else:
        jobs, key = jobs_in(state_dir), key_of(name, namespace)
        job, secrets = find(jobs, key), given.read(jobs.folder(key))
    storage = job.spec.checkpoint.storage
    return storage if uri is None else storage.model_copy(update={"uri": uri}), secrets
