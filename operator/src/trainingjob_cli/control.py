"""`trainingjob rollback | suspend | resume | delete`: commands that change what is wanted of a local job. Effects.

They edit the spec, as `kubectl patch` would; whoever runs the job does the rest.
"""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from trainingjob_api.spec.checkpoint import Storage as Place
from trainingjob_api.storage.log import History
from trainingjob_cli.archive import clear, open_storage, read_history
from trainingjob_cli.context import Mistake, Name, Namespace, Outcome, StateDir, find, jobs_in, key_of, say
from trainingjob_cli.probes.presence import presence
from trainingjob_cli.run import Logs, Plain, Shown, conclude, execute
from trainingjob_operator.local import given
from trainingjob_operator.local.clearing import end_all
from trainingjob_operator.local.folder import in_charge, pid_in_charge
from trainingjob_operator.local.jobs import LocalJobs, unknown
from trainingjob_operator.state import JobKey
from trainingjob_operator.status.storage import kept_words

ToStep = Annotated[int, typer.Option("--to-step", min=0, help="The checkpoint to go back to.", show_default=False)]
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
    """Step a running or finished job back to a kept checkpoint; the newer ones are hidden."""
    jobs, key = jobs_in(state_dir), key_of(name, namespace)
    job = find(jobs, key)
    if job.spec.training.script is not None:
        raise Mistake(f"rollback: job {name} runs a script, whose checkpoints are its own; only a task can be stepped back")
    target = request or f"cli-{secrets.token_hex(4)}"
    if job.status.last_rollback_request == target:
        raise Mistake(f"--request {target}: it was carried out before; choose a new id")
    _refuse_missing(read_history(job.spec.checkpoint.storage, given.read(jobs.folder(key))), to_step)
    jobs.edit(key, lambda spec: {**spec, "rollback": {"toStep": to_step, "request": target}, "suspend": False})
    pid = pid_in_charge(jobs.folder(key))
    if pid is not None:
        say(f"rollback to step {to_step} asked for (request {target}); process {pid} carries it out")
    elif not wait:
        say(f"rollback to step {to_step} asked for (request {target}); nobody runs the job: the same `trainingjob run` carries it out")
    else:
        _run(jobs, key, plain=plain)


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
        end_all(jobs.folder(key), os.environ, jobs.root)
        if storage:
            clear(open_storage(kept, given.read(jobs.folder(key))))
        jobs.remove(key)
    rest = "" if storage else f"; what it stored stays in {kept.uri}"
    say(f"job {name} is deleted{rest}")


def _refuse_missing(history: History, step: int) -> None:
    """Say at once what the log would refuse later."""
    if history.at_step(step) is None:
        steps = ", ".join(str(kept.step) for kept in history.visible()) or "none yet"
        raise Mistake(f"--to-step {step}: there is no such checkpoint; visible ones: {steps}")


def _run(jobs: LocalJobs, key: JobKey, *, plain: bool, shown: Shown = Shown.RANK0) -> None:
    with in_charge(jobs.folder(key)):
        outcome = execute(jobs, key, plain=plain, shown=shown)
    conclude(jobs, key, outcome, f"trainingjob resume {key.name}")


def _end_in_order(jobs: LocalJobs, key: JobKey, *, plain: bool) -> None:
    """Take the place of a command that is gone: its job's processes save and stop, and its status becomes true again."""
    with in_charge(jobs.folder(key)):
        outcome = execute(jobs, key, plain=plain)
    if outcome is not Outcome.SUSPENDED:
        conclude(jobs, key, outcome, f"trainingjob resume {key.name}")
        return
    status = find(jobs, key).status
    say(f"job {key.name} is suspended: {kept_words(status.step, status.checkpoint)}; nobody runs it now")
