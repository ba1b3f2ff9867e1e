"""Where the files of local jobs lie, and how they are written so that a kill at any moment leaves the old or the new one.

    <root>/operator.key
    <root>/<namespace>/<name>/job.json, status.json, events.jsonl, reserve, objects/, pods/

Effects: files only. It must not know what is in them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainingjob_api.durable import flush_folder, is_full
from trainingjob_operator.engine.values import ResourceKey
from trainingjob_operator.local.reserve import Reserve

_KEY_BYTES = 32
_PRIVATE, _SHARED = 0o600, 0o644
_CHARGE = "charge.lock"


class JobTakenError(ValueError):
    """Another process is in charge of the job."""


@dataclass(frozen=True)
class JobFolder:
    """The files of one job."""

    root: Path
    key: ResourceKey

    @property
    def path(self) -> Path:
        """The job's own folder."""
        return self.root / self.key.namespace / self.key.name

    @property
    def job(self) -> Path:
        """Metadata and spec."""
        return self.path / "job.json"

    @property
    def status(self) -> Path:
        """The status, written by whoever is in charge."""
        return self.path / "status.json"

    @property
    def events(self) -> Path:
        """One event a line, the newest last."""
        return self.path / "events.jsonl"

    @property
    def pods(self) -> Path:
        """Records, logs and last words of the job's processes."""
        return self.path / "pods"

    @property
    def objects(self) -> Path:
        """The job's other children."""
        return self.path / "objects"

    @property
    def reserve(self) -> Reserve:
        """Room for the files that are written here."""
        return Reserve(self.path / "reserve")

    def write(self, path: Path, text: str) -> None:
        """Replace a file of the job by `text`, as `write_whole` does; on a disk that is full, out of the reserve."""
        self._within_reserve(lambda: write_whole(path, text))

    def append(self, path: Path, text: str) -> None:
        """Append `text` to a file of the job, whole or not at all; on a disk that is full, out of the reserve."""
        self._within_reserve(lambda: append_whole(path, text))

    def _within_reserve(self, write: Callable[[], None]) -> None:
        reserve = self.reserve
        try:
            write()
        except OSError as error:
            if not is_full(error):
                raise
            with reserve.lent():
                write()
        else:
            reserve.refill()


def default_root(environ: Mapping[str, str]) -> Path:
    """The state folder of this user: TRAININGJOB_STATE_DIR, or trainingjob/ in XDG_STATE_HOME."""
    if chosen := environ.get("TRAININGJOB_STATE_DIR"):
        return Path(chosen)
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "trainingjob"


def write_whole(path: Path, text: str, mode: int = _PRIVATE) -> None:
    """Replace `path` by `text`, durably: readers see the old or the new file, never a part."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say whose
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    flush_folder(path.parent)


def append_whole(path: Path, text: str) -> None:
    """Append `text` to a file, or leave the file as it was. It begins a line: what was cut off before stays a line of its own."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, _SHARED)
    try:
        size = os.fstat(descriptor).st_size
        is_cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        rest = b"\n" * is_cut_off + text.encode()
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: JobFolder) -> Iterator[None]:
    """Hold the job's edit lock: for the moment of one read and one write, by any process."""
    folder.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.path / "edit.lock", os.O_CREAT | os.O_RDWR, _PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_charge(folder: JobFolder) -> Iterator[None]:
    """Be the one process that acts on the job's plan, until the block or the process ends.

    Raises:
        JobTakenError: another process is; the message has its pid.
    """
    descriptor = _taken(folder)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        folder.reserve.open()
        try:
            yield
        finally:
            folder.reserve.close()
    finally:
        os.close(descriptor)


def _taken(folder: JobFolder) -> int:
    """The descriptor of the lock, held."""
    path = folder.path / _CHARGE
    while True:
        folder.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
            os.close(descriptor)  # the job was deleted between opening and locking: this file guards nothing any more
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            raise JobTakenError(
                f"job {folder.key.name} is run by process {pid} already: wait for it, or stop it with Ctrl-C there, "
                f"or with `trainingjob suspend {folder.key.name}`"
            ) from None


def pid_in_charge(folder: JobFolder) -> int | None:
    """The process that is in charge of the job now, if any."""
    path = folder.path / _CHARGE
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(descriptor)
    return None


def operator_key(root: Path) -> bytes:
    """The root of all local jobs' tokens: made once, readable by its owner alone."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "operator.key"
    if not path.exists():
        fresh = root / f".operator.key.{secrets.token_hex(4)}"
        write_whole(fresh, secrets.token_hex(_KEY_BYTES))
        with suppress(FileExistsError):  # two at once: the first one's key is the key
            path.hardlink_to(fresh)
        fresh.unlink()
        flush_folder(root)
    return bytes.fromhex(path.read_text().strip())
