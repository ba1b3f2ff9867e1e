"""`trainingjob get | describe | logs | checkpoints`: commands that only look. Effects: reads files and storage, prints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.spec.errors import explain
from trainingjob_api.storage.log import History
from trainingjob_cli import manifest
from trainingjob_cli.archive import newest, outputs, read_history, system_logs
from trainingjob_cli.context import Mistake, Name, Namespace, StateDir, console, find, job_names, job_of, jobs_in, key_of, say
from trainingjob_cli.probes.lives import Tails, Wanted, lives
from trainingjob_cli.probes.presence import is_over, presence
from trainingjob_cli.rendering import tables
from trainingjob_cli.rendering.formats import Form, FormOption, Output, OutputOption, as_json, as_list, as_yaml, resource_name
from trainingjob_cli.rendering.story import folded
from trainingjob_cli.rendering.watching import Watched
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.engine.values import Manifest, ResourceKey
from trainingjob_operator.local import given
from trainingjob_operator.local.jobs import LocalJobs, unknown

OptionalName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="The job's name; all jobs without it.", show_default=False, autocompletion=job_names),
]
NameOrFile = Annotated[
    str | None, typer.Argument(metavar="NAME|FILE", help="A local job, or a manifest.", show_default=False, autocompletion=job_names)
]
Worker = Annotated[int | None, typer.Option("--worker", min=0, help="Only this worker's.", show_default=False)]
Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank's, counted as when all are there.", show_default=False)]
Tail = Annotated[int | None, typer.Option("--tail", min=0, help="Only so many last lines of each process.", show_default=False)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job ends.")]
System = Annotated[bool, typer.Option("--system", help="First what the rendezvous and the agents say of themselves.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print a job again whenever it has changed, until Ctrl-C.")]
LookedAt = Annotated[
    str | None, typer.Option("--storage", metavar="URI", help="Look here, whatever the job's own storage is.", show_default=False)
]
SHOWN_EVENTS = 30
_LOOK_SECONDS = 0.5
_FOLLOW_SECONDS = 0.2


def get(
    name: OptionalName = None,
    output: OutputOption = Output.TABLE,
    watch: Watch = False,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """List local jobs, with kubectl's columns."""
    jobs = jobs_in(state_dir)
    keys = [key_of(name, namespace)] if name else jobs.all()
    if watch:
        _watch(jobs, keys if name else None, output)
        return
    found = [find(jobs, key) for key in keys] if name else [job_of(body) for key in keys if (body := jobs.read(key))]
    if output is Output.NAME:
        print("".join(f"{resource_name(job.metadata.name)}\n" for job in found), end="")
    elif output in (Output.JSON, Output.YAML):
        bodies = [body for key in keys if (body := jobs.read(key))]
        _print_object(bodies[0] if name else as_list(bodies), as_yaml_text=output is Output.YAML)
    elif found:
        seen = [presence(jobs.folder(job_key(job.metadata.namespace, job.metadata.name)), job) for job in found]
        shown = [each.marked(job) for each, job in zip(seen, found, strict=True)]
        if output is Output.WIDE:  # its lines are as long as they are, as kubectl's
            rows = [(str(number), tables.cells(job, datetime.now(UTC), wide=True)) for number, job in enumerate(shown)]
            print("\n".join(Watched([*tables.COLUMNS, *tables.WIDE], -1).lines(rows)))
        else:
            console().print(tables.jobs_table(shown, datetime.now(UTC)))
        for each, job in zip(seen, found, strict=True):
            if remark := each.remark(job):
                say(f"{job.metadata.name}: {remark}")
    else:
        say(f"no jobs in {jobs.root}: start one with trainingjob run FILE")


def describe(name: Name, output: FormOption = Form.TABLE, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """Show a job's status, conditions and events."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    if output is Form.NAME:
        print(resource_name(name))
    elif output is not Form.TABLE:
        _print_object({"job": jobs.read(key), "events": jobs.events(key)}, as_yaml_text=output is Form.YAML)
    else:
        events = folded(jobs.events(key))[-SHOWN_EVENTS:]
        console().print(tables.description(presence(jobs.folder(key), job).marked(job), events, datetime.now(UTC)))


def _watch(jobs: LocalJobs, keys: Sequence[ResourceKey] | None, output: Output) -> None:
    """Print the jobs, and each one again when it has changed, until Ctrl-C, or until a job that was named is gone."""
    wide = output is Output.WIDE
    watched = Watched([*tables.COLUMNS, *(tables.WIDE if wide else ())], tables.COLUMNS.index("AGE"))
    if output in (Output.JSON, Output.YAML, Output.NAME):
        raise Mistake(f"--output {output}: --watch prints a table; leave out one of them")
    while True:
        bodies = {key: body for key in (jobs.all() if keys is None else keys) if (body := jobs.read(key)) is not None}
        if keys is not None and not bodies:
            raise Mistake(unknown(keys[0], jobs.all()))
        now = datetime.now(UTC)
        shown = {key: presence(jobs.folder(key), job).marked(job) for key, body in bodies.items() for job in [job_of(body)]}
        rows = [(f"{key.namespace}/{key.name}", tables.cells(job, now, wide=wide)) for key, job in shown.items()]
        for line in watched.lines(rows):
            print(line, flush=True)
        time.sleep(_LOOK_SECONDS)


def _print_object(value: Any, *, as_yaml_text: bool) -> None:
    print(as_yaml([value], begun=False) if as_yaml_text else as_json(value), end="")


def logs(
    name: Name,
    worker: Worker = None,
    rank: Rank = None,
    tail: Tail = None,
    follow: Follow = False,
    system: System = False,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Print what the training processes printed: every life that is on this machine or in storage."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job, folder = find(jobs, key), jobs.folder(key)
    wanted = selected(job, {member.worker for member in lives(folder)}, worker, rank)
    tails = Tails(folder, wanted)
    found = outputs(folder, job.spec.checkpoint.storage, wanted, tails)
    shown = [*(system_logs(folder) if system else ())]
    shown += [(f"worker {output.member.label()}", output.text) for output in (found if tail is None else newest(found, tail))]
    for title, text in shown:
        print(f"==> {title} <==")
        print(text, end="" if text.endswith("\n") else "\n", flush=True)
    if follow:
        _follow(jobs, key, tails, several=worker is None and rank is None)
    elif not shown:
        say("nothing was printed yet; --system shows what the agents and the rendezvous have to say")


def selected(job: TrainingJob, seen: set[int], worker: int | None, rank: int | None) -> Wanted:
    """Return which processes `--worker` and `--rank` mean. Pure.

    Raises:
        Mistake: there is no such worker or rank.
    """
    workers, each = job.spec.workers, job.spec.workers.processes_per_worker
    if worker is not None and worker >= workers.replicas + workers.spares and worker not in seen:
        raise Mistake(f"--worker {worker}: there is no such worker; workers are 0 to {workers.replicas + workers.spares - 1}")
    if rank is not None and rank >= workers.replicas * each:
        raise Mistake(f"--rank {rank}: there is no such rank; ranks are 0 to {workers.replicas * each - 1}")
    if rank is None:
        return lambda member: worker in (None, member.worker)
    return lambda member: worker in (None, member.worker) and (member.worker, member.process) == divmod(rank, each)


def _follow(jobs: LocalJobs, key: ResourceKey, tails: Tails, *, several: bool) -> None:
    """Print what comes, until nobody runs the job any more."""
    ended = False
    while not ended:
        job = jobs.read(key)
        ended = job is None or is_over(jobs.folder(key), job.get("status", {}).get("phase", ""))
        for member, lines in tails.read(last=ended):
            prefix = f"[{member.worker}/{member.process}.{member.life}] " if several else ""
            print("\n".join(prefix + line for line in lines), flush=True)
        if not ended:
            time.sleep(_FOLLOW_SECONDS)


def checkpoints(
    name: NameOrFile = None,
    storage: LookedAt = None,
    output: FormOption = Form.TABLE,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """List the checkpoints that the log in the storage has, and which of them the job can go back to."""
    history = read_history(*_storage(name, storage, namespace, state_dir))
    if output is Form.NAME:
        print("".join(f"{kept.step}\n" for kept in history.visible()), end="")
    elif output is not Form.TABLE:
        _print_object(described(history), as_yaml_text=output is Form.YAML)
    elif history.seq < 0:
        say("there is no log in this storage yet")
    else:
        console().print(tables.checkpoints_table(history))
        if history.done is not None:
            say(f"done at step {history.done.step}, attempt {history.done.attempt}")


def described(history: History) -> dict[str, Any]:
    """Return what the log says of checkpoints, for programs. Pure."""
    kept = sorted(history.checkpoints.values(), key=lambda kept: kept.entry.seq)
    return {
        "checkpoints": [
            {
                "step": each.step,
                "time": datetime.fromtimestamp(each.entry.time, UTC).isoformat(timespec="seconds"),
                "attempt": each.entry.attempt,
                "state": tables.state_of(each),
                "pinned": each.pinned,
                "bytes": each.entry.bytes,
                "save": each.save,
            }
            for each in kept
        ],
        "deleted": len(history.deleted),
        "done": None if history.done is None else {"step": history.done.step, "attempt": history.done.attempt},
    }


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
        found = manifest.bundle(name, storage=jobs_in(state_dir).storage)
        job, secrets = found.job, found.secrets
    else:
        jobs, key = jobs_in(state_dir), key_of(name, namespace)
        job, secrets = find(jobs, key), given.read(jobs.folder(key))
    storage = job.spec.checkpoint.storage
    return storage if uri is None else storage.model_copy(update={"uri": uri}), secrets
