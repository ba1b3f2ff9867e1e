"""What a job left in its storage and in its folder: the log's history, and the output of its workers. Effects: reads only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.storage.layout import RUNS_PREFIX, parse_run_log_key
from trainingjob_api.storage.log import History
from trainingjob_operator.children.names import worker
from trainingjob_operator.local.folder import JobFolder
from trainingjob_storage.appender import Appender
from trainingjob_storage.store import Store, open_store

LAST_LINES = 15
"""Of a failed worker's log."""
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True)
class Output:
    """What one process printed."""

    title: str
    worker: int | None
    """None: the rendezvous."""
    text: str


def open_storage(storage: Storage) -> Store:
    """The storage of a job, with the credentials of whoever asks."""
    return open_store(storage.uri, storage.endpoint_url, storage.region, os.environ)


def read_history(storage: Storage) -> History:
    """What the log says; empty where there is no log.

    Raises:
        StorageError: the storage cannot be read, or holds something else; the message names the field.
    """
    return Appender(open_storage(storage), owner_uid="").refresh()


def outputs(folder: JobFolder, storage: Storage, only: int | None) -> Iterator[Output]:
    """Everything that workers printed: first what is in storage, then what lies on this machine.

    Args:
        folder: the local job.
        storage: where finished lives of training processes are kept.
        only: the worker wanted; None: all, and the rendezvous.
    """
    yield from _stored(open_storage(storage), only)
    for path in sorted(folder.pods.glob("*.log")):
        index = _index(path.stem)
        if only is None or index == only:
            yield Output(path.stem, index, path.read_text(errors="replace"))


def last_words(folder: JobFolder, job: TrainingJob) -> list[str]:
    """The end of the log of the worker that failed first: of its training process if that printed anything, else of its agent."""
    failures = job.status.last_failures
    if not failures or failures[0].worker is None:
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


def _stored(store: Store, only: int | None) -> Iterator[Output]:
    for key in store.list(RUNS_PREFIX):
        member = parse_run_log_key(key)
        if member is not None and only in (None, member.worker):
            yield Output(f"worker {member.label()}", member.worker, store.get(key).decode(errors="replace"))


def _index(name: str) -> int | None:
    """The worker's index in a pod's name."""
    parts = name.rsplit("-", 3)
    return int(parts[2]) if len(parts) == 4 and parts[1] == "worker" and parts[2].isdigit() else None
