"""Where a measurement of training works: a folder in memory that goes away with it, and a torch that need not be compiled anew."""

from __future__ import annotations

import compileall
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
IN_MEMORY = Path("/dev/shm")


def in_turns(turns: int, gigabytes: float, ours: Callable[[Path, int], T], peer: Callable[[Path, int], T]) -> tuple[list[T], list[T]]:
    """What we and the peer came to, one after the other, each in a folder that is not there yet; both are told the number of the turn."""
    compile_packages()
    found: tuple[list[T], list[T]] = [], []
    with folder(gigabytes) as place:
        for turn in range(turns):
            found[0].append(ours(place / f"ours-{turn}", turn))
            found[1].append(peer(place / f"peer-{turn}", turn))
    return found


@contextmanager
def folder(gigabytes: float) -> Iterator[Path]:
    """A folder of its own, in memory where there is some: no figure is to depend on this machine's disk.

    Raises:
        SystemExit: there is less room than `gigabytes`.
    """
    parent = IN_MEMORY if IN_MEMORY.is_dir() else Path(tempfile.gettempdir())
    free = shutil.disk_usage(parent).free / 2**30
    if free < gigabytes:
        raise SystemExit(f"{gigabytes:g} GiB are needed in {parent}, {free:.1f} GiB are free; make room, or give it more memory")
    with tempfile.TemporaryDirectory(prefix="trainingjob-bench-", dir=parent) as name:
        yield Path(name)


def compile_packages() -> None:
    """Write the bytecode of the installed packages, if that has not been done.

    An installer may leave it out, and PYTHONDONTWRITEBYTECODE keeps it away: then each new process compiles torch's 2,000 modules, and what
    restarts processes is charged with half a minute that nobody's image would cost.
    """
    packages = Path(sysconfig.get_paths()["purelib"])
    if not list((packages / "torch" / "__pycache__").glob("__init__.*.pyc")):
        print("compiling the installed packages, once ...", flush=True)
        compileall.compile_dir(packages, quiet=2, workers=0)
