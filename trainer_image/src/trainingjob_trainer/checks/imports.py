"""Imports the module of a task; whatever its code does then is told with the module's name. Effects: the import, the import path."""

from __future__ import annotations

import importlib
import io
import os
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from trainingjob_trainer.checks.mistakes import ENVIRONMENT, blame

_FIELD = "spec.training.task.class"
_LONGEST_WORDS = 300


def import_task(name: str) -> ModuleType:
    """The module `name`.

    Raises:
        ValueError: there is none, or its code cannot be run; the message names the field and the module.
        OSError: or another of mistakes.ENVIRONMENT: another try may fare better.
    """
    with _heard() as heard:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise ValueError(f"{_FIELD}: {name} needs the module {error.name}, which is not installed") from error
            raise ValueError(
                f"{_FIELD}: there is no module {error.name!r}; install it in the image, or put its folder on PYTHONPATH"
            ) from error
        except SystemExit as ending:
            said = " ".join((ending.code if isinstance(ending.code, str) else heard.last()).split())[-_LONGEST_WORDS:]
            raise ValueError(
                f"{_FIELD}: {name} ends its process while it is imported (sys.exit{f', and says: {said}' if said else ''});"
                ' put what it does as a program under `if __name__ == "__main__":`, and take arguments as training.task.parameters'
            ) from ending
        except ENVIRONMENT:
            raise
        except (ImportError, SyntaxError) as error:
            raise ValueError(f"{_FIELD}: {name} cannot be imported: {error}") from error
        except Exception as error:
            raise ValueError(f"{_FIELD}: {name} cannot be imported: {blame(error, name).message}") from error


def find_users_modules(import_path: str) -> None:
    """Have the user's modules found from now on: in the working folder, and in the folders of `import_path`, a PYTHONPATH.

    They come after the standard library and before installed packages: a random.py beside the manifest is not torch's, and a datasets.py is
    the task's. Processes that this one starts get the path as PYTHONPATH.
    """
    folders = [part for part in import_path.split(os.pathsep) if part]
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    place = next((index for index, folder in enumerate(sys.path) if folder in installed), len(sys.path))
    sys.path[place:place] = [folder for folder in dict.fromkeys([str(Path.cwd()), *folders]) if folder not in sys.path]


class _Heard(io.TextIOBase):
    """Passes text on, and keeps the end of it."""

    def __init__(self, onto: TextIO) -> None:
        self._onto = onto
        self._kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._kept = (self._kept + text)[-4 * _LONGEST_WORDS :]
        return self._onto.write(text)

    def flush(self) -> None:
        self._onto.flush()

    def fileno(self) -> int:
        return self._onto.fileno()

    def __getattr__(self, name: str) -> Any:
        """What a stream has beyond text, such as `buffer` and `reconfigure`."""
        return getattr(self._onto, name)

    def last(self) -> str:
        """The last line."""
        return (self._kept.strip().splitlines() or [""])[-1]


@contextmanager
def _heard() -> Iterator[_Heard]:
    """Hear what is written to standard error. What a module keeps of the stand-in (a log handler's stream) goes on working."""
    heard = _Heard(sys.stderr)
    before, sys.stderr = sys.stderr, heard
    try:
        yield heard
    finally:
        if sys.stderr is heard:
            sys.stderr = before
