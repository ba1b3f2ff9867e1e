"""The stamp page: where a training process is right now, readable when it no longer answers. Effects: shared memory only.

The training process writes (it imports this module: keep it light, no aiohttp here), its agent reads. The page is a memfd
that the agent made, so what was stamped last outlives the process. Writing is a few microseconds and never blocks.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

from trainingjob_api.contract.messages import GenerationId, Phase

PAGE_BYTES = 4096
_LAYOUT = struct.Struct("<qqqqqQQq")
_SEQUENCE = struct.Struct("<Q")
_OFFSET = _SEQUENCE.size
_NONE = -1

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


class StampWriter:
    """The training process's hand on its page. One thread writes at a time."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, PAGE_BYTES)
        self._sequence = 0
        self._generation: GenerationId | None = None
        self._step: int | None = None
        self._phase = Phase.STARTING
        self._entered = 0
        self._left = 0
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

    def enter(self) -> None:
        """A collective is about to be entered."""
        self._entered += 1
        self._write()

    def leave(self) -> None:
        """A collective has returned."""
        self._left += 1
        self._write()

    def close(self) -> None:
        """Unmap the page; what it says stays."""
        self._page.close()

    def _write(self) -> None:
        generation = self._generation or GenerationId(_NONE, _NONE, _NONE)
        self._sequence += 1  # odd: being written
        _SEQUENCE.pack_into(self._page, 0, self._sequence)
        _LAYOUT.pack_into(
            self._page,
            _OFFSET,
            *generation,
            _NONE if self._step is None else self._step,
            PHASES.index(self._phase),
            self._entered,
            self._left,
            time.monotonic_ns(),
        )
        self._sequence += 1
        _SEQUENCE.pack_into(self._page, 0, self._sequence)


class StampPage:
    """The agent's side: makes the page, hands out its descriptor, reads it."""

    def __init__(self, name: str) -> None:
        self.descriptor = os.memfd_create(f"stamp-{name}")
        os.ftruncate(self.descriptor, PAGE_BYTES)
        self._page = mmap.mmap(self.descriptor, PAGE_BYTES)

    def read(self) -> Stamp:
        """The newest whole stamp; if the writer died in the middle of one, what is there."""
        for _ in range(100):
            before = _SEQUENCE.unpack_from(self._page, 0)[0]
            values = _LAYOUT.unpack_from(self._page, _OFFSET)
            if before % 2 == 0 and before == _SEQUENCE.unpack_from(self._page, 0)[0]:
                break
        attempt, epoch, n, step, phase, entered, left, changed_ns = values
        unwritten = changed_ns == 0
        return Stamp(
            generation=None if unwritten or attempt == _NONE else GenerationId(attempt, epoch, n),
            step=None if unwritten or step == _NONE else step,
            phase=PHASES[phase] if 0 <= phase < len(PHASES) else Phase.STARTING,
            entered=entered,
            left=left,
            changed_ns=changed_ns,
        )

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
        os.close(self.descriptor)
