"""Who looks after a local job now, and which of its processes live. Effects: reads files and /proc."""

from __future__ import annotations

import time
from dataclasses import dataclass

from trainingjob_api.procfs import boot_id, is_stopped
from trainingjob_api.resource import TrainingJob
from trainingjob_cli.rendering.tables import short_time
from trainingjob_operator.local.folder import JobFolder, pid_in_charge
from trainingjob_operator.local.processes import in_session, marked, start_time
from trainingjob_operator.local.records import Records

_AT_REST = ("Succeeded", "Failed", "Suspended")
"""Phases that stay true when nobody looks after the job."""


@dataclass(frozen=True)
class Presence:
    """What runs of a job at one moment."""

    pid: int | None
    """The command that looks after it; None: nobody does."""
    processes: tuple[int, ...]
    """Its living processes: agents, rendezvous, training processes and what they started. Not counted where the command lives."""
    silent_seconds: float | None
    """Since the status was written last; None: it never was."""
    is_stopped: bool = False
    """The command is there, and stands still."""

    def is_orphaned(self) -> bool:
        """Return whether its processes live on without the command that started them."""
        return self.pid is None and bool(self.processes)

    def is_stale(self, job: TrainingJob) -> bool:
        """Return whether the status claims something that nobody has looked at since: it may have come otherwise."""
        unwatched = self.pid is None or self.is_stopped
        return unwatched and bool(job.status.phase) and job.status.phase not in _AT_REST

    def marked(self, job: TrainingJob) -> TrainingJob:
        """Return the job for display: a stale phase is marked, and its message says so."""
        if not self.is_stale(job) and not self.is_orphaned():
            return job
        status = job.status
        phase = f"{status.phase} (stale)" if self.is_stale(job) else status.phase
        shown = status.model_copy(update={"phase": phase, "message": f"{status.message}\n{self.remark(job)}".strip()})
        return job.model_copy(update={"status": shown})

    def remark(self, job: TrainingJob) -> str:
        """Return what to say of a job that nobody looks after, and what to do; "" where there is nothing to say."""
        stale = self.is_stale(job)
        since = "" if self.silent_seconds is None else f" for {short_time(self.silent_seconds)}"
        facts = [f"stale: nobody has written it{since}"] if stale else []
        if stale or self.is_orphaned():
            facts.append(self._advice(job.metadata.name))
        return "; ".join(facts)

    def _advice(self, name: str) -> str:
        if self.pid is not None:
            return f"process {self.pid}, which looks after it, is stopped: `fg` there, or `kill -CONT {self.pid}`"
        count = len(self.processes)
        if not count:
            return f"none of its processes lives: `trainingjob resume {name}` goes on from the last checkpoint"
        lives = "1 of its processes lives" if count == 1 else f"{count} of its processes live"
        takes = f"`trainingjob resume {name}` takes over, `trainingjob suspend {name}` saves and ends them"
        return f"{lives} on without the command that started them: {takes}"


def presence(folder: JobFolder, job: TrainingJob) -> Presence:
    """Look for the job's supervisor and processes.

    Args:
        folder: the job's files.
        job: what they say of it.
    """
    try:
        written = folder.status.stat().st_mtime
    except FileNotFoundError:
        written = None
    silent = None if written is None else max(0.0, time.time() - written)
    pid = pid_in_charge(folder)
    processes = () if pid is not None else living(folder)
    return Presence(pid, processes, silent, pid is not None and is_stopped(pid))


def is_over(folder: JobFolder, phase: str) -> bool:
    """Return whether nothing of the job will print any more: nobody looks after it, and it rests or none of its processes lives."""
    return pid_in_charge(folder) is None and (phase in _AT_REST or not living(folder))


def living(folder: JobFolder) -> tuple[int, ...]:
    """Return the pids of all processes of the job that live, by its records and by the mark that they inherit."""
    records = Records(folder).all()
    found = set(marked(*(record.uid for record in records)))
    for record in records:
        if record.pid is not None and record.boot == boot_id() and start_time(record.pid) == record.began:
            found.update(in_session(record.pid))
    return tuple(sorted(found))
