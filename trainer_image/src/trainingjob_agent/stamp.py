"""The stamp page: where a training process is right now, readable when it no longer answers. Effects: shared memory only.

The training process writes (it imports this module: keep it light, no aiohttp here), its agent reads. The page is a memfd
that the agent made, so what was stamped last outlives the process. Writing is a few microseconds and never blocks.

A stamp is whole or not there: each is written, with its checksum, into the one of two places that does not hold the newest, and then a
single byte says which place does. So a writer that is stopped, throttled or killed in the middle of a stamp leaves the one before it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from dataclasses import dataclass

from trainingjob_api.contract.channel import Links
from trainingjob_api.contract.messages import GenerationId, MemberId, Phase
from trainingjob_api.contract.stamps import Activity, MemberStamp

PAGE_BYTES = 4096
_LAYOUT = struct.Struct("<qqqqqQQqQ32s")
_CHECKSUM = struct.Struct("<L")
_PLACES = (64, 192)
_NONE = -1
_TRIES = 100

PHASES: tuple[Phase, ...] = (
    Phase.STARTING,
    Phase.IDLE,
    Phase.FORMED,
    Phase.RESTORING,
    Phase.STEPPING,
    Phase.EVALUATING,
    Phase.FINISHING,
    Phase.GONE,
)
"""A phase's code is its place here: append, never reorder."""
ACTIVITIES = (Activity.COMPUTING, Activity.LOADING)
"""The same for activities."""


@dataclass(frozen=True)
class Stamp:
    """What the page says."""

    generation: GenerationId | None
    step: int | None
    phase: Phase
    entered: int
    """Collectives entered in this generation."""
    left: int
    """Collectives left: one less than `entered` while inside one."""
    changed_ns: int
    """time.monotonic_ns() of the last change (one clock for all processes of a machine); 0: never written."""
    activity: Activity = Activity.COMPUTING
    """What it does while it is in no collective."""
    calling: str = ""
    """The collective of the task's own code that it is inside of, and which call of the step that is (from 1); "": none of the task's."""


class StampWriter:
    """The training process's hand on its page. One thread writes at a time."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, PAGE_BYTES)
        self._place = 0
        self._generation: GenerationId | None = None
        self._step: int | None = None
        self._phase = Phase.STARTING
        self._entered = 0
        self._left = 0
        self._activity = Activity.COMPUTING
        self._calling = ""
        self._write()

    def mark(self, phase: Phase, *, generation: GenerationId | None = None, step: int | None = None) -> None:
        """Stamp a phase; `step` is kept where None is given, the collectives' count starts anew with a new generation."""
        if generation != self._generation:
            self._entered = self._left = 0
        self._phase = phase
        self._generation = generation
        self._step = self._step if step is None else step
        self._write()

    def step(self, step: int) -> None:
        """Stamp the step that is about to be computed."""
        self._step = step
        self._write()

    def enter(self, calling: str = "") -> None:
        """A collective is about to be entered; `calling` names one of the task's own code, in at most 32 ASCII characters."""
        self._entered += 1
        self._calling = calling
        self._write()

    def leave(self) -> None:
        """A collective has returned."""
        self._left += 1
        self._write()

    def act(self, activity: Activity) -> None:
        """Stamp what the process does from now on."""
        self._activity = activity
        self._write()

    def close(self) -> None:
        """Unmap the page; what it says stays."""
        self._page.close()

    def _write(self) -> None:
        generation = self._generation or GenerationId(_NONE, _NONE, _NONE)
        values = _LAYOUT.pack(
            *generation,
            _NONE if self._step is None else self._step,
            PHASES.index(self._phase),
            self._entered,
            self._left,
            time.monotonic_ns(),
            ACTIVITIES.index(self._activity),
            self._calling.encode(),
        )
        self._place = 1 - self._place
        at = _PLACES[self._place]
        self._page[at : at + len(values) + _CHECKSUM.size] = values + _CHECKSUM.pack(zlib.crc32(values))
        self._page[0] = self._place or 2  # one byte: never seen half


class StampPage:
    """The agent's side: makes the page, hands out its descriptor, reads it."""

    def __init__(self, name: str) -> None:
        self.descriptor = os.memfd_create(f"stamp-{name}")
        os.ftruncate(self.descriptor, PAGE_BYTES)
        self._page = mmap.mmap(self.descriptor, PAGE_BYTES)
        self._newest = Stamp(generation=None, step=None, phase=Phase.STARTING, entered=0, left=0, changed_ns=0)

    def read(self) -> Stamp:
        """The newest whole stamp."""
        for _ in range(_TRIES):  # a place may be written over while it is read
            if self._page[0] == 0:
                break
            if (found := read_stamp(self._page)) is not None:
                self._newest = found
                break
        return self._newest

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
        os.close(self.descriptor)


def read_stamp(page: bytes | mmap.mmap) -> Stamp | None:
    """Return the newest stamp in a page; None where there is none, or it is just being written."""
    if (place := page[0]) == 0:
        return None
    at = _PLACES[place % 2]
    values = page[at : at + _LAYOUT.size]
    whole = _CHECKSUM.unpack_from(page, at + _LAYOUT.size)[0] == zlib.crc32(values)
    return _stamp(values) if whole else None


def outward(member: MemberId, stamp: Stamp, now_ns: int, step_seconds: float, links: Links | None) -> MemberStamp:
    """Return the stamp as the rendezvous gets it.

    Args:
        member: whose it is.
        stamp: the newest.
        now_ns: time.monotonic_ns().
        step_seconds: the median length of its recent steps; 0 before the first one has ended.
        links: what the process last said of its connections; what it said in another generation does not count.
    """
    seen = links if links is not None and links.generation == stamp.generation else None
    return MemberStamp(
        process=member.process,
        life=member.life,
        generation=stamp.generation,
        step=stamp.step,
        phase=stamp.phase,
        activity=stamp.activity.value,
        calling=stamp.calling,
        entered=stamp.entered,
        left=stamp.left,
        still_seconds=max(0.0, (now_ns - stamp.changed_ns) / 1e9) if stamp.changed_ns else 0.0,
        step_seconds=step_seconds,
        cut_off=seen.cut_off if seen is not None else (),
        quiet_seconds=seen.quiet_seconds if seen is not None else 0.0,
        watched=seen is not None and seen.watched,
    )


def _stamp(values: bytes) -> Stamp:
    attempt, epoch, n, step, phase, entered, left, changed_ns, activity, calling = _LAYOUT.unpack(values)
    return Stamp(
        generation=None if attempt == _NONE else GenerationId(attempt, epoch, n),
        step=None if step == _NONE else step,
        phase=PHASES[phase] if 0 <= phase < len(PHASES) else Phase.STARTING,
        entered=entered,
        left=left,
        changed_ns=changed_ns,
        activity=ACTIVITIES[activity] if activity < len(ACTIVITIES) else Activity.COMPUTING,
        calling=calling.rstrip(b"\0").decode("ascii", "replace"),
    )
