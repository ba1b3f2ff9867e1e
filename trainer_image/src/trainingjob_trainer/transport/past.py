"""Groups that are over, and how to let go of them. Effects: threads of this process.

A gloo group has two threads of its own, and its destructor waits for what they are doing. So a group is dropped once all its collectives
have ended, which they do soon after its connections were cut, and in a thread beside: whoever waits there holds nobody up, since the
destructor gives the interpreter's lock away (tried with torch 2.13). A collective that gloo began just when its connections were cut may
never end. Its group stays, and is looked at again with the next ones; until then nothing else may destroy it, neither the garbage
collector nor the end of the interpreter, since the destructor would wait for ever.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from trainingjob_trainer.transport.port import Pending

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""How long a group's collectives may take to end once its connections are cut."""
LOOK_SECONDS = 0.02

Group = Any
"""One of torch's backends. Its stubs do not know their methods."""


class Over(RuntimeError):
    """The group is over: nothing begins in it any more."""


class Standing:
    """A generation's group, and the collectives that have begun in it.

    It is handed to the user's code in the group's place, so that no other reference to the group is left anywhere.
    """

    def __init__(self, group: Group) -> None:
        _keep(group)
        self._group: Group | None = group
        self._works: list[Pending] = []
        self._beginning = threading.Lock()

    def begin(self, call: Callable[[Group], Pending]) -> Pending:
        """Begin a collective.

        Raises:
            Over: the group is.
            RuntimeError: torch's word that it could not begin.
        """
        with self._beginning:
            if self._group is None:
                raise Over("the group is gone")
            work = call(self._group)
            self._works.append(work)
            return work

    def __getattr__(self, method: str) -> Callable[..., Pending]:
        """Return the group's method of that name: a collective."""
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda *arguments, **named: self.begin(lambda group: getattr(group, method)(*arguments, **named))

    def forget_ended(self) -> None:
        """Hold the ended collectives, and their tensors, no longer."""
        with self._beginning:
            self._works = [work for work in self._works if not work.is_completed()]

    def close(self) -> list[Group]:
        """Let nothing begin any more; the group, in a list that is its only place."""
        with self._beginning:
            group, self._group = self._group, None
            return [] if group is None else [group]

    def rests(self) -> bool:
        """Return whether every collective has ended."""
        self.forget_ended()
        return not self._works


class PastGroups:
    """Groups that are over, until they are let go of."""

    def __init__(self) -> None:
        self._kept: list[tuple[Standing, list[Group]]] = []
        self._lock = threading.Lock()

    def add(self, standing: Standing) -> None:
        """Let nothing begin in a group any more; keep it."""
        with self._lock:
            self._kept.append((standing, standing.close()))

    def release(self) -> None:
        """Drop the groups that were added; their connections are cut. Waits for their collectives: call it in a thread beside."""
        with self._lock:
            waiting, self._kept = self._kept, []
        until = time.monotonic() + PATIENCE_SECONDS
        while waiting:
            waiting = [(standing, place) for standing, place in waiting if not _dropped(standing, place)]
            if time.monotonic() > until:
                break
            if waiting:
                time.sleep(LOOK_SECONDS)
        if waiting:
            log.warning("%d groups that are over stay: a collective in them does not end", len(waiting))
        with self._lock:
            self._kept += waiting


def _dropped(standing: Standing, place: list[Group]) -> bool:
    if not standing.rests():
        return False
    with _destroying:
        _give_up(place.pop())
    return True


def _keep(group: Group) -> None:
    """Count a reference that nobody has, so that the group outlives all that hold it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


def _give_up(group: Group) -> None:
    """Take that reference back: the destructor runs when this returns."""
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(group))


_destroying = threading.Lock()
"""Held while a destructor runs. The interpreter must not end meanwhile: that would unwind the thread, which aborts the process."""
atexit.register(_destroying.acquire, timeout=PATIENCE_SECONDS)
