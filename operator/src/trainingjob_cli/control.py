"""`trainingjob rollback | suspend | resume | delete`: commands that change what is wanted of a local job. Effects.

They edit the spec, as `kubectl patch` would; whoever runs the job does the rest.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from typing import Annotated

import typer

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage as Place
from trainingjob_api.storage.entries import Entry
from trainingjob_api.storage.log import History, pin_of
from trainingjob_cli.archive import check_owner, clear, open_storage
from trainingjob_cli.context import Mistake, Name, Namespace, Outcome, StateDir, find, jobs_in, key_of, say
from trainingjob_cli.probes.presence import presence
from trainingjob_cli.reading.targets import step_of, target
from trainingjob_cli.run import Logs, Plain, Shown, conclude, execute
from trainingjob_operator.controllers.training_job.status.script import stopped_words
from trainingjob_operator.engine.values import ResourceKey
from trainingjob_operator.local import given
from trainingjob_operator.local.clearing import end_all
from trainingjob_operator.local.folder import JobTakenError, in_charge, pid_in_charge
from trainingjob_operator.local.jobs import LocalJobs, unknown
from trainingjob_storage.appender import Appender
from trainingjob_storage.position import steps_of

_ANSWER_SECONDS = 30.0
"""How long `rollback` waits for whoever runs the job; a regroup takes a second."""
_LOOK_SECONDS = 0.1

ToStep = Annotated[
    str,
    typer.Option("--to-step", metavar="STEP|latest|previous", help="The checkpoint to go back to.", show_default=False),
]
Request = Annotated[str | None, typer.Option("--request", help="The request's id; one is carried out once.", show_default="a new one")]
Wait = Annotated[bool, typer.Option("--wait", help="Run the job until it is finished, unless somebody else does.")]
Storage = Annotated[bool, typer.Option("--storage", help="Delete its checkpoints, log and model too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def rollback(
    name: Name,
    to_step: ToStep,
    request: Request = None,
    wait: Wait = False,
    plain: Plain = False,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Step a running or finished job back to a kept checkpoint, as if it had never gone further. Until then that checkpoint is kept."""
    step_of(to_step)  # what is no step is refused before anything is read
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    if job.spec.training.script is not None:
        raise Mistake(f"rollback: job {name} runs a script, whose checkpoints are its own; only a task can be stepped back")
    asked = request or f"cli-{secrets.token_hex(4)}"
    if job.status.last_rollback_request == asked:
        raise Mistake(f"--request {asked}: it was carried out before; choose a new id")
    step = _pinned(jobs, key, job, to_step)
    jobs.edit(key, lambda spec: {**spec, "rollback": {"toStep": step, "request": asked}, "suspend": False})
    if pid_in_charge(jobs.folder(key)) is not None:
        _follow(jobs, key, step, asked)
    elif wait:
        _run(jobs, key, plain=plain)
    else:
        say(f"job {name} is to go back to step {step} (request {asked}); nobody runs it now: trainingjob resume {name} does it")


def _pinned(jobs: LocalJobs, key: ResourceKey, job: TrainingJob, word: str) -> int:
    """Have the log keep the checkpoint that `word` means, and return its step.

    The same append chooses and pins it, so that retention cannot drop it before the job goes back to it, however fast steps are.
    """
    chosen = 0

    def entry(history: History, seq: int) -> Entry | None:
        nonlocal chosen
        kept = target(history, word)
        chosen = kept.step
        return pin_of(history, kept, seq, time.time())

    store = open_storage(job.spec.checkpoint.storage, given.read(jobs.folder(key)))
    history = Appender(store, job.metadata.uid).append(entry)
    _note(jobs, key, chosen, history)
    return chosen


def _note(jobs: LocalJobs, key: ResourceKey, step: int, history: History) -> None:
    """Name the pinned checkpoint in the status, if nobody runs the job: no worker reports it then, and an older one may be left out."""
    with suppress(JobTakenError):
        if pid_in_charge(jobs.folder(key)) is None and step not in find(jobs, key).status.checkpoints:
            with in_charge(jobs.folder(key)):
                status = find(jobs, key).status
                jobs.write_status(key, status.model_copy(update={"checkpoints": steps_of(history)}).to_object())


def _follow(jobs: LocalJobs, key: ResourceKey, step: int, request: str) -> None:
    """Wait for the answer of whoever runs the job, and say it.

    Raises:
        Mistake: the job refuses the request.
    """
    until = time.monotonic() + _ANSWER_SECONDS
    while (pid := pid_in_charge(jobs.folder(key))) is not None and time.monotonic() < until:
        status = find(jobs, key).status
        answer = status.condition("RolledBack")
        if status.last_rollback_request == request and answer is not None:
            if answer.status != "True":
                raise Mistake(answer.message)
            say(f"job {key.name}: {answer.message}")
            return
        time.sleep(_LOOK_SECONDS)
    who = "nobody runs it now" if pid is None else f"process {pid} carries it out"
    say(f"job {key.name} is to go back to step {step} (request {request}); {who}")


def suspend(name: Name, plain: Plain = False, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """Have a running job save and stop. Where the command that ran it is gone, this one ends its processes in order."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    jobs.edit(key, lambda spec: {**spec, "suspend": True})
    now = presence(jobs.folder(key), job)
    if now.pid is not None:
        say(f"job {name} is to save and stop; process {now.pid} carries it out")
    elif now.processes or now.is_stale(job):
        _end_in_order(jobs, key, plain=plain)
    else:
        say(f"job {name} is suspended; nobody runs it now")


def resume(
    name: Name, logs: Logs = Shown.RANK0, plain: Plain = False, namespace: Namespace = "default", state_dir: StateDir = None
) -> None:
    """Go on with a suspended job, as `trainingjob run` would."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    find(jobs, key)
    jobs.edit(key, lambda spec: {**spec, "suspend": False})
    if pid_in_charge(jobs.folder(key)) is None:
        _run(jobs, key, plain=plain, shown=logs)


def delete(
    name: Name,
    storage: Storage = False,
    yes: Yes = False,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Forget a local job, ending its processes; its storage stays unless --storage is given."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    body = jobs.read(key)
    if body is None:
        raise Mistake(unknown(key, jobs.all()))
    kept = Place.model_validate(body["spec"]["checkpoint"]["storage"])  # not the whole job: one that cannot be read any more can be deleted
    if storage and not yes and not typer.confirm(f"Delete the checkpoints, the log, the workers' output and the model below {kept.uri}?"):
        raise Mistake("nothing was deleted")
    with in_charge(jobs.folder(key)):
        store = open_storage(kept, given.read(jobs.folder(key))) if storage else None
        if store is not None:
            check_owner(store, {body["metadata"]["uid"]}, "leave out --storage to delete this job alone")
        end_all(jobs.folder(key), os.environ, jobs.root)
        if store is not None:
            clear(store)
        jobs.remove(key)
    rest = "" if storage else f"; what it stored stays in {kept.uri}"
    say(f"job {name} is deleted{rest}")


def _run(jobs: LocalJobs, key: ResourceKey, *, plain: bool, shown: Shown = Shown.RANK0) -> None:
    with in_charge(jobs.folder(key)):
        outcome = execute(jobs, key, plain=plain, shown=shown)
    conclude(jobs, key, outcome, f"trainingjob resume {key.name}")


def _end_in_order(jobs: LocalJobs, key: ResourceKey, *, plain: bool) -> None:
    """Take the place of a command that is gone: its job's processes save and stop, and its status becomes true again."""
    with in_charge(jobs.folder(key)):
        outcome = execute(jobs, key, plain=plain)
    if outcome is not Outcome.SUSPENDED:
        conclude(jobs, key, outcome, f"trainingjob resume {key.name}")
        return
    say(f"job {key.name} is suspended: {stopped_words(find(jobs, key))}; nobody runs it now")
