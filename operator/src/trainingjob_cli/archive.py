"""What a job left in its storage and in its folder: the log's history, and the output of its workers.

Effects: reads; and `clear`, which deletes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainingjob_api.contract.messages import FailureCause, MemberId
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.storage.entries import Claim
from trainingjob_api.storage.layout import (
    EXPORT_PREFIX,
    LOG_PREFIX,
    PROBE_PREFIX,
    RUNS_PREFIX,
    SAVES_PREFIX,
    is_a_jobs,
    parse_run_log_key,
)
from trainingjob_api.storage.log import History
from trainingjob_cli.context import Mistake
from trainingjob_cli.probes.lives import Tails, Wanted, lives
from trainingjob_operator.controllers.training_job.children.names import worker
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local import given
from trainingjob_operator.local.folder import JobFolder
from trainingjob_storage.appender import Appender
from trainingjob_storage.store import Store, open_store

LAST_LINES = 15
"""Of a failed worker's log."""
_TAIL_BYTES = 64 << 10


_OUTPUT = re.compile(r"\[\d+/\d+\.\d+\] ")
"""How an agent's log begins a line of its training processes' output."""


@dataclass(frozen=True)
class Output:
    """What one life of a training process printed."""

    member: MemberId
    text: str


def credentials(storage: Storage, manifests: Sequence[Manifest]) -> dict[str, str]:
    """Return the environment of whoever asks, and over it the Secret that the storage names, if it is among `manifests`."""
    return {**os.environ, **(given.values(manifests, "Secret", storage.credentials_secret_name or "") or {})}


def open_storage(storage: Storage, manifests: Sequence[Manifest] = ()) -> Store:
    """The storage of a job, with the credentials of whoever asks; those of a Secret among `manifests` come first."""
    return open_store(storage.uri, storage.endpoint_url, storage.region, credentials(storage, manifests))


def read_history(storage: Storage, manifests: Sequence[Manifest] = ()) -> History:
    """What the log says; empty where there is no log. A Secret among `manifests` may hold the storage's credentials.

    Raises:
        StorageError: the storage cannot be read, or holds something else; the message names the field.
    """
    return Appender(open_storage(storage, manifests), owner_uid="").refresh()


def stored(store: Store) -> list[str]:
    """Return the keys of all that jobs have stored, the log's at the end. What lies beside it is somebody else's."""
    prefixes = (SAVES_PREFIX, RUNS_PREFIX, EXPORT_PREFIX, PROBE_PREFIX, LOG_PREFIX)
    return [key for prefix in prefixes for key in store.list(prefix) if is_a_jobs(key)]


def owner_of(store: Store) -> Claim | None:
    """Return the claim of the job that the storage belongs to; None: no job has claimed it.

    Raises:
        StorageError: the log cannot be read, so that nobody knows.
    """
    return Appender(store, owner_uid="").refresh().owner


def check_owner(store: Store, uids: Container[str], instead: str) -> None:
    """Raise unless the storage belongs to one of `uids`, or to nobody.

    Raises:
        Mistake: it belongs to another job, which may be training; the message names it, and says what to do `instead`.
    """
    owner = owner_of(store)
    if owner is not None and owner.owner_uid not in uids:
        raise Mistake(f"{store.uri} belongs to the job {owner.owner_name} (uid {owner.owner_uid}), and nothing was deleted; {instead}")


def clear(store: Store) -> None:
    """Delete all that jobs have stored. The caller has checked whose it is.

    The log comes last and its beginning at the very end, so that what a kill leaves behind can be read, and still has an owner.
    """
    keys = stored(store)
    log = [key for key in keys if key.startswith(LOG_PREFIX)]
    store.delete([*keys[: len(keys) - len(log)], *reversed(log)])


def outputs(folder: JobFolder, storage: Storage, wanted: Wanted, tails: Tails) -> Iterator[Output]:
    """Give everything that training processes printed, by worker, pod, process and life.

    Args:
        folder: the local job.
        storage: where finished lives are kept; it is asked for those that are not on this machine.
        wanted: whose output.
        tails: reads what lies on this machine, and goes on from there.
    """
    here = {member: "".join(f"{line}\n" for line in lines) for member, lines in tails.read(last=True)}
    known = lives(folder).keys()
    store = open_storage(storage, given.read(folder))
    keys = {parse_run_log_key(key): key for key in store.list(RUNS_PREFIX)}
    there = {member for member in keys if member is not None and member not in known and wanted(member)}
    for member in sorted({*here, *there}):
        yield Output(member, here[member] if member in here else store.get(keys[member]).decode(errors="replace"))


def newest(found: Iterable[Output], count: int) -> list[Output]:
    """Return the last lines of each process: `count` of them, from as many of its lives as it takes. Pure."""
    kept: list[Output] = []
    left: dict[tuple[int, int], int] = {}
    for output in reversed(list(found)):
        process = (output.member.worker, output.member.process)
        lines = output.text.splitlines()[-left.get(process, count) :] if left.get(process, count) else []
        left[process] = left.get(process, count) - len(lines)
        if lines:
            kept.append(Output(output.member, "\n".join(lines) + "\n"))
    return kept[::-1]


def system_logs(folder: JobFolder) -> Iterator[tuple[str, str]]:
    """Give the name and the own lines of the rendezvous and of each agent on this machine."""
    for path in sorted(folder.pods.glob("*.log")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if not _OUTPUT.match(line)]
        if lines:
            yield path.stem, "\n".join(lines) + "\n"


def last_words(folder: JobFolder, job: TrainingJob) -> list[str]:
    """The end of the log of the worker that failed first: of its training process if that printed anything, else of its agent.

    None of a mistake of the user's: its message is whole, and names the place.
    """
    failures = job.status.last_failures
    if not failures or failures[0].worker is None or failures[0].cause == FailureCause.USER_ERROR:
        return []
    prefix = worker(job.metadata.name, job.metadata.uid, failures[0].worker, 0).rpartition("-")[0]
    candidates = [*folder.pods.glob(f"{prefix}-*.scratch/**/*.log"), *folder.pods.glob(f"{prefix}-*.log")]
    for path in sorted(candidates, key=lambda path: (path.parent == folder.pods, -path.stat().st_mtime)):
        if found := tail(path):
            return found
    return []


def tail(path: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-count:]
