"""A folder as a store: a shared volume, or a laptop's disk. Effects.

An object appears whole or not at all, at any moment of death: it is written under another name, flushed, and then linked
(create) or renamed (put) to its place, and the folder is flushed. A link fails if the name is taken, on every POSIX file
system and on NFS, which makes the creation of log entries safe against a second writer.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from trainingjob_api.durable import flush_folder, is_full
from trainingjob_storage.errors import AlreadyExists, NotFound, Refused, StorageError, Unreachable

TEMPORARY = ".tmp-"
"""Names that start so are unfinished objects."""
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.EOPNOTSUPP}
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FileStore:
    """Objects are files under `root`. See `store.Store`."""

    def __init__(self, uri: str, root: Path) -> None:
        self.uri = uri
        self._root = root

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        path = self._path(key)
        self._make_root()
        with self._placing(path), _written(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise AlreadyExists(key) from None
            flush_folder(path.parent)

    def put(self, key: str, data: bytes | memoryview) -> None:
        """See Store."""
        path = self._path(key)
        self._make_root()
        with self._placing(path), _written(path, data) as temporary:
            temporary.replace(path)
            flush_folder(path.parent)

    def get(self, key: str) -> bytes:
        """See Store."""
        path = self._path(key)
        with _explained(path):
            try:
                return path.read_bytes()
            except _ABSENT:
                raise NotFound(key) from None

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """See Store."""
        path = self._path(key)
        with _explained(path):
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    return file.read(stop - start)
            except _ABSENT:
                raise NotFound(key) from None

    def list(self, prefix: str) -> list[str]:
        """See Store."""
        folder = self._path(prefix) if prefix else self._root
        found: list[str] = []
        with _explained(folder):
            for parent, _, names in os.walk(folder, onerror=_unless_gone):
                inside = PurePosixPath(parent).relative_to(self._root)
                found.extend(str(inside / name) for name in names if not name.startswith(TEMPORARY))
        return sorted(found)

    def delete(self, keys: Iterable[str]) -> None:
        """See Store. Folders that have become empty go too."""
        for key in keys:
            path = self._path(key)
            with _explained(path):
                with suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
                self._remove_empty(path.parent)

    def _make_root(self) -> None:
        with _explained(self._root):
            try:
                _make_folder(self._root)
            except FileNotFoundError as error:
                # Its parent is there, or was made just now, and takes no folder: /proc and its like.
                raise Refused(
                    f"spec.checkpoint.storage.uri: {error.filename} cannot be made, since its file system takes no folders; "
                    "name one on a disk or a volume"
                ) from error

    def _path(self, key: str) -> Path:
        parts = key.removesuffix("/").split("/")
        assert not any(part in ("", ".", "..") or part.startswith(TEMPORARY) for part in parts), f"malformed key {key}"
        return self._root.joinpath(*parts)

    @contextmanager
    def _placing(self, path: Path) -> Iterator[None]:
        """As `_explained`; a folder that was made for an object that cannot be written does not stay."""
        try:
            with _explained(path):
                yield
        except StorageError:
            self._remove_empty(path.parent)
            raise

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._root and self._root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


@contextmanager
def _written(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A flushed temporary file beside `path` that holds `data`; gone afterwards, unless it was renamed."""
    descriptor, temporary = _open_temporary(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _open_temporary(folder: Path) -> tuple[int, Path]:
    # Twice: another thread's delete may have taken the empty folder away in between.
    for last in (False, False, True):
        _make_folder(folder)
        try:
            descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        except FileNotFoundError:
            if last:
                raise
            continue
        os.fchmod(descriptor, 0o644)
        return descriptor, Path(name)
    raise AssertionError("unreachable")


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    flush_folder(folder.parent)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns the system's errors into ours."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _REFUSALS or isinstance(error, NotADirectoryError):
            raise Refused(
                f"spec.checkpoint.storage.uri: {path}: {why}. Mount a volume there that the job's user may write and that has hard links"
            ) from error
        if is_full(error):
            raise Unreachable(f"{path}: {why}. Make room, or lower spec.checkpoint.keep") from error
        raise Unreachable(f"{path}: {why}") from error
