"""What the processes of a local job print, read from the files that their agents write. Effects: reads files.

A file grows while it is read, is cut at its front when it is long (see the agent's LifeLog), and goes when the job is deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainingjob_api.contract.messages import MemberId
from trainingjob_api.storage.layout import parse_run_log_key
from trainingjob_operator.local.folder import JobFolder

Wanted = Callable[[MemberId], bool]
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
_OWN = re.compile(_STAMP.pattern + r"INFO trainingjob_(\w+(?:\.\w+)*): (.*)|agent: .*")
"""What the product itself says in a process' output, below a warning."""
_MISTAKE = re.compile(_STAMP.pattern + r"ERROR trainingjob_trainer: spec\.")
_TOLD = ("trainer.loop",)
"""Whose words of those a person wants to read while the job runs: measurements, early stopping."""


def lives(folder: JobFolder) -> dict[MemberId, Path]:
    """Return the file of every life that was on this machine, by worker, pod, process and life."""
    found: dict[MemberId, Path] = {}
    for path in folder.pods.glob("*.scratch/runs/*/*/*.log"):
        member = parse_run_log_key("/".join(path.parts[-4:]))
        if member is not None:
            found[member] = path
    return dict(sorted(found.items()))


@dataclass
class _Place:
    """How far a file was read."""

    offset: int
    rest: bytes = b""
    """The beginning of a line whose end has not come yet."""


@dataclass
class Tails:
    """The lines that come, life by life."""

    folder: JobFolder
    wanted: Wanted
    limit: int | None = None
    """Bytes of a file that are read at once; of more, the newest. None: all."""
    _places: dict[MemberId, _Place] = field(default_factory=dict)

    def skip(self) -> Tails:
        """Leave out what has been printed up to now."""
        for member, path in lives(self.folder).items():
            with suppress(OSError):
                self._places[member] = _Place(path.stat().st_size)
        return self

    def read(self, *, last: bool = False) -> Iterator[tuple[MemberId, list[str]]]:
        """Give the lines that have come since the last call; with `last`, a line without an end too."""
        for member, path in lives(self.folder).items():
            if not self.wanted(member):
                continue
            with suppress(OSError):
                lines = self._new(self._places.setdefault(member, _Place(0)), path, last=last)
                if lines:
                    yield member, lines

    def _new(self, place: _Place, path: Path, *, last: bool) -> list[str]:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < place.offset:  # it was cut at its front: what is there was read, but for a little
                place.offset, place.rest = size, b""
            missed = max(0, size - place.offset - self.limit) if self.limit is not None else 0
            file.seek(place.offset + missed)
            *whole, rest = ((b"" if missed else place.rest) + file.read(size - place.offset - missed)).split(b"\n")
        place.offset, place.rest = size, rest
        if last and rest:
            whole, place.rest = [*whole, rest], b""
        lines = [line.decode(errors="replace").rstrip("\r") for line in whole]
        return [f"… {missed} bytes are left out here; `trainingjob logs` has them", *lines[1:]] if missed else lines


def for_people(lines: Iterable[str]) -> list[str]:
    """Return the lines without what the product logs of its own; its measurements stay, shortened.

    A mistake of the user's is told by an event and at the job's end, so its record goes too, with the traceback below it.
    """
    kept, dropping = [], False
    for line in lines:
        own = _OWN.fullmatch(line)
        dropping = bool(_MISTAKE.match(line)) or (dropping and own is None and not _STAMP.match(line))
        if own is not None and own[1] in _TOLD:
            kept.append(own[2])
        elif own is None and not dropping:
            kept.append(line)
    return kept
