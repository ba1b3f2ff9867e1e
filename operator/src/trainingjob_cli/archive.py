"""What a job left in its storage and in its folder: the log's history, and the output of its workers.

Effects: reads; and `clear`, which deletes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.checkpoint import Storage
from trainingjob_api.storage.layout import EXPORT_PREFIX, LOG_PREFIX, PROBE_PREFIX, RUNS_PREFIX, SAVES_PREFIX, parse_run_log_key
from trainingjob_api.storage.log import History
from trainingjob_operator.children.names import worker
from trainingjob_operator.local import given
from trainingjob_operator.local.folder import JobFolder
from trainingjob_operator.state import Manifest
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
    """Return the keys of all that jobs have stored. What lies beside it is somebody else's."""
    return [key for prefix in (LOG_PREFIX, SAVES_PREFIX, RUNS_PREFIX, EXPORT_PREFIX, PROBE_PREFIX) for key in store.list(prefix)]


def clear(store: Store) -> None:
    """Delete all that jobs have stored; the log last, so that what a kill leaves behind still has an owner."""
    *rest, log = [store.list(prefix) for prefix in (SAVES_PREFIX, RUNS_PREFIX, EXPORT_PREFIX, PROBE_PREFIX, LOG_PREFIX)]
    for keys in (*rest, log[1:], log[:1]):
        store.delete(keys)


def outputs(folder: JobFolder, storage: Storage, only: int | None) -> Iterator[Output]:
    """Everything that workers printed: what lies on this machine, and from storage the lives of which nothing does.

    Args:
        folder: the local job.
        storage: where the finished lives of training processes are kept.
        only: the worker wanted; None: all, and the rendezvous.
    """
    here = [path for path in sorted(folder.pods.glob("*.log")) if path.stat().st_size]
    seats = {_seat(path.stem) for path in here}
    yield from _stored(open_storage(storage, given.read(folder)), only, seats)
    for path in here:
        seat = _seat(path.stem)
        if only is None or (seat is not None and seat[0] == only):
            yield Output(path.stem, None if seat is None else seat[0], path.read_text(errors="replace"))


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


def _stored(store: Store, only: int | None, here: set[tuple[int, int] | None]) -> Iterator[Output]:
    for key in store.list(RUNS_PREFIX):
        member = parse_run_log_key(key)
        if member is not None and only in (None, member.worker) and (member.worker, member.incarnation) not in here:
            yield Output(f"worker {member.label()}", member.worker, store.get(key).decode(errors="replace"))


def _seat(name: str) -> tuple[int, int] | None:
    """The worker and the incarnation in a pod's name."""
    parts = name.rsplit("-", 3)
    is_worker = len(parts) == 4 and parts[1] == "worker" and parts[2].isdigit() and parts[3].isdigit()
    return (int(parts[2]), int(parts[3])) if is_worker else None
