"""One job's operator in this process: the reconcile queue over the local backend, until the job has ended. Effects.

It decides nothing about the job but when there is nothing left to do here. Whoever makes one holds the job's charge.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import SecretBytes

from trainingjob_api.durable import is_full
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Status
from trainingjob_cli.context import Mistake, Outcome
from trainingjob_cli.probes.lives import Tails, Wanted, for_people
from trainingjob_cli.rendering.display import Display
from trainingjob_cli.rendering.live import problem_of, view_of
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.policy.suspend import limit_seconds
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Plan, Pod
from trainingjob_operator.controllers.training_job.status.script import is_script
from trainingjob_operator.engine.controller import reconcile
from trainingjob_operator.engine.queue import WorkQueue
from trainingjob_operator.engine.values import Event, ResourceKey
from trainingjob_operator.local.backend import LocalCluster
from trainingjob_operator.local.folder import operator_key
from trainingjob_operator.local.jobs import LocalJobs, UnknownJobError

_LOOK_SECONDS = 0.2
"""How often the view is refreshed and the job's file looked at."""
_DRAIN_SECONDS = 30.0
"""How long processes of an ended job may take to go by themselves."""
_KILL_SECONDS = 10.0
_STOP_MARGIN_SECONDS = 30.0
"""Beyond the operator's own limit for a suspension; then the command ends without it."""
_HOPELESS_PASSES = 20
"""So many failed passes in a row (minutes, with the queue's backoff) end the command; the pods go on."""
_OUTPUT_BYTES = 16 << 10
"""Of a process' output at one look: a terminal shows no more in that time, and nobody reads it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """Runs the job `key`; a Controller itself, so that it sees what the reconcile sees."""

    def __init__(self, jobs: LocalJobs, key: ResourceKey, environ: Mapping[str, str], display: Display, output: Wanted) -> None:
        """`output` says which processes' output is displayed."""
        self._output = Tails(jobs.folder(key), output, limit=_OUTPUT_BYTES).skip()
        self._jobs = jobs
        self._key = key
        self._display = display
        secret = operator_key(jobs.root)
        self._settings = local_settings(secret)
        self._queue: WorkQueue[ResourceKey] = WorkQueue(self._pass)
        self._cluster = LocalCluster(jobs, secret, environ, self._queue.add, self._tell)
        self._seen: Observed | None = None
        self._status: Status | None = None
        self._gone = False
        self._interrupts = 0
        self._stop_by = float("inf")
        self._failed_passes = 0
        self._trouble = ""
        self._is_full = False
        """The last pass has found no room for what it had to write down."""
        self._is_stopping = False
        """The stop that the first interrupt asks for is written down."""
        self._turned = asyncio.Event()
        """Set after every pass and signal."""

    async def run(self) -> Outcome:
        """Reconcile until the job has ended, was stopped by a signal, or was deleted.

        Raises:
            Mistake: the job's processes cannot be started as the manifest has it.
        """
        loop = asyncio.get_running_loop()
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heeded = [number for number in _SIGNALS if number is not signal.SIGHUP or not nohup]
        for number in heeded:
            loop.add_signal_handler(number, self._interrupted, number)
        tasks = [asyncio.create_task(self._watch_file()), asyncio.create_task(self._show())]
        self._queue.add(self._key)
        try:
            return await self._until_over()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._queue.close()
            await self._cluster.close()
            self._show_output(last=True)
            for number in heeded:
                loop.remove_signal_handler(number)

    async def observe(self, key: ResourceKey) -> Observed | None:
        """As the port says; remembered for the view."""
        seen = await self._cluster.observe(key)
        self._seen, self._gone = seen, seen is None
        if seen is not None:
            self._status = seen.job.status
        return seen

    def plan(self, seen: Observed, now: datetime) -> Plan:
        """As for a job in a cluster."""
        return plan(seen, self._settings, now)

    async def act(self, key: ResourceKey, seen: Observed, plan: Plan) -> None:
        """As the port says; remembered for the view."""
        await self._cluster.act(key, seen, plan)
        self._status = plan.status

    async def _pass(self, key: ResourceKey) -> float | None:
        try:
            if self._interrupts and not self._is_stopping:
                self._suspend()
            after = await reconcile(self, key, datetime.now(UTC))
        except (OSError, ValueError) as error:
            self._note_failure(error)
            raise
        else:
            self._failed_passes, self._is_full = 0, False
            return after
        finally:
            self._turned.set()

    def _note_failure(self, error: Exception) -> None:
        """Count a failed pass towards giving up. A disk that is full does not count: what trains goes on, and room may be made."""
        self._trouble = str(error)
        if not is_full(error):
            self._failed_passes += 1
        elif not self._is_full:
            self._is_full = True
            self._display.note(f"nothing can be written down, and training goes on; make room: {error}")

    async def _until_over(self) -> Outcome:
        while True:
            await self._turned.wait()
            self._turned.clear()
            if self._gone or self._interrupts > 1 or asyncio.get_running_loop().time() > self._stop_by:
                await self._kill()
                if self._is_full:
                    self._display.note("what follows was written down before the disk was full")
                return Outcome.DELETED if self._gone else Outcome.KILLED
            if self._failed_passes and (self._interrupts or self._failed_passes >= _HOPELESS_PASSES):
                raise Mistake(f"job {self._key.name} cannot be looked after: {self._trouble}")
            if self._seen is None or self._status is None:
                continue
            _refuse_unstartable(self._seen.pods, self._status)
            outcome = outcome_of(self._seen.job, self._status)
            if outcome is not None:
                await self._drain()
                return outcome

    async def _drain(self) -> None:
        """The job has ended: let its processes go in order, and see that they do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._end_seconds() if self._runs_script() else _DRAIN_SECONDS):
                while self._seen is not None and any(not pod.over() for pod in self._seen.pods) and self._interrupts < 2:
                    await self._turned.wait()
                    self._turned.clear()
        await self._kill()

    async def _kill(self) -> None:
        """End all processes of the job that are left."""
        await self._queue.close()
        pods = self._cluster.pods(self._key)
        pods.kill()
        with suppress(TimeoutError, OSError):  # nobody lives, though perhaps it cannot be written down
            async with asyncio.timeout(_KILL_SECONDS):
                while living := [pod for pod in pods.observe() if not pod.over()]:
                    for pod in living:
                        pods.delete(pod.name, 0)
                    await asyncio.sleep(_LOOK_SECONDS / 4)

    def _interrupted(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self._interrupts:
            return  # a closed terminal is told more than once, by the kernel, the shell, tmux: none of them is in a hurry
        self._interrupts += 1
        if self._interrupts == 1:
            doing = "the script is told to end" if self._runs_script() else "saving, then stopping"
            self._display.note(f"{doing}; Ctrl-C again ends it at once")
            self._queue.add(self._key)  # a pass writes it down, again and again if it has to
            limit = self._end_seconds() + _STOP_MARGIN_SECONDS
            self._stop_by = asyncio.get_running_loop().time() + limit
            asyncio.get_running_loop().call_later(limit + _LOOK_SECONDS, self._turned.set)
        self._turned.set()

    def _suspend(self) -> None:
        with suppress(UnknownJobError):  # deleted just now
            self._jobs.edit(self._key, lambda spec: {**spec, "suspend": True})
        self._is_stopping = True

    def _runs_script(self) -> bool:
        return self._seen is not None and is_script(self._seen.job)

    def _end_seconds(self) -> float:
        """How long an end in order may take."""
        return self._settings.suspend_timeout_seconds if self._seen is None else limit_seconds(self._seen.job.spec, self._settings)

    async def _watch_file(self) -> None:
        """Another command edits the job (rollback, suspend, delete): see it soon."""
        path = self._jobs.folder(self._key).job
        known = None
        while True:
            stamp = path.stat().st_mtime_ns if path.exists() else 0
            if stamp != known:
                known = stamp
                self._queue.add(self._key)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _show(self) -> None:
        while True:
            if self._seen is not None and self._status is not None:
                self._display.update(view_of(self._seen, self._status))
            self._show_output()
            await asyncio.sleep(_LOOK_SECONDS)

    def _show_output(self, *, last: bool = False) -> None:
        for member, printed in self._output.read(last=last):
            if lines := for_people(printed):
                self._display.output(f"[{member.worker}/{member.process}] ", lines)

    def _tell(self, _key: ResourceKey, events: tuple[Event, ...]) -> None:
        for event in events:
            self._display.event(event)


def _refuse_unstartable(pods: tuple[Pod, ...], status: Status) -> None:
    """Raise Mistake if no pass will ever make this manifest run."""
    valid = status.condition("Valid")
    if valid is not None and valid.status == "False":
        raise Mistake(valid.message)
    if any(pod.reason == "CreateContainerConfigError" for pod in pods):
        raise Mistake(problem_of(pods))


def local_settings(secret: bytes) -> Settings:
    """The operator's settings for processes of this machine: prompt, since a person watches."""
    return Settings(operator_key=SecretBytes(secret), interface="lo", progress_seconds=1.0)


def outcome_of(job: TrainingJob, status: Status) -> Outcome | None:
    """How the job has ended, or None if there is something to do: also a rollback that brings an ended job back."""
    asked = job.spec.rollback
    if asked is not None and asked.request != status.last_rollback_request and asked.to_step in status.checkpoints:
        return None
    if _is(status, "Complete"):
        return Outcome.COMPLETE
    if _is(status, "Failed"):
        return Outcome.FAILED
    if job.spec.suspend and _is(status, "Suspended"):
        return Outcome.SUSPENDED
    return None


def _is(status: Status, kind: str) -> bool:
    condition = status.condition(kind)
    return condition is not None and condition.status == "True"
