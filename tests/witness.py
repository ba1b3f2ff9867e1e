"""Looks once a second at what a job's status claims, beside the steps that its processes really finish, as their stamp pages have them.

`lies` is pure: it names every sample that claims more than was done. A test that has a witness fails if there is one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainingjob_agent.stamp import Stamp, read_stamp

LIMIT_SECONDS = 10.0
"""No step for so long is to be told. The jobs of these tests have steps of milliseconds."""
SLACK_SECONDS = 3.0
"""Between a step and the status that says so: a stamp a second, a report, a pass, a write, and this look itself."""

_BUSY = ("Evaluating", "Finishing", "Suspending", "Releasing", "Failing")
"""Phases in which workers are in the generation, and need not take steps."""


@dataclass(frozen=True)
class Sample:
    """One look."""

    at: float
    """Seconds, monotonic."""
    status: dict[str, Any]
    step: int | None
    """The newest step that any process was seen to have finished so far."""
    stepped_at: float | None
    """When a process was last seen to have finished another one."""
    checkpoints: tuple[int, ...]
    """Steps of the checkpoint entries in the log."""
    current: tuple[int, ...] = ()
    """The steps of the processes that live. Some may be cut off from those that go on, and ahead of them."""


def lies(samples: Sequence[Sample]) -> list[str]:
    """Return what the samples claim beyond what was done, a sentence each."""
    found = [f"{sample.at - samples[0].at:.0f} s: {lie}" for sample in samples for lie in _of(sample)]
    for before, after in pairwise(samples):
        grown = _training(after) - _training(before)
        if grown > 0 and _idle(before) and _idle(after):
            found.append(f"{after.at - samples[0].at:.0f} s: training time grows by {grown:.1f} s, and no step is taken")
    return found


def _of(sample: Sample) -> Iterator[str]:
    status, ready = sample.status, _ready(sample.status)
    if _idle(sample):
        if status.get("phase") == "Running":
            yield "Running, and no step is taken"
        if ready == "True":
            yield "Ready, and no step is taken"
        if status.get("samplesPerSecond"):
            yield f"{status['samplesPerSecond']} samples/s, and no step is taken"
        workers = status.get("display", {}).get("workers", "0/")
        if status.get("phase") not in _BUSY and not workers.startswith(("0/", "?/")):
            yield f"{workers} workers train, and no step is taken"
    claimed = status.get("step")
    if claimed and (sample.step is None or claimed > sample.step):
        yield f"step {claimed} is claimed, {sample.step} was seen"
    checkpoint = status.get("checkpoint")
    if checkpoint is not None and checkpoint not in sample.checkpoints:
        yield f"checkpoint {checkpoint} is claimed, the log has {sample.checkpoints}"


def _idle(sample: Sample) -> bool:
    """No process has finished a step for so long that it is to be told."""
    return sample.stepped_at is None or sample.at - sample.stepped_at > LIMIT_SECONDS + SLACK_SECONDS


def _training(sample: Sample) -> float:
    return float(sample.status.get("ledger", {}).get("Training", 0.0))


def _ready(status: dict[str, Any]) -> str:
    return next((str(each["status"]) for each in status.get("conditions", ()) if each["type"] == "Ready"), "")


@dataclass
class Witness:
    """Takes the samples, in a thread of its own.

    Args:
        status: the job's status now; it is asked first, so that what was done can only be more.
        stamps: the newest stamps of the job's processes.
        checkpoints: steps of the checkpoint entries in the job's log.
    """

    status: Callable[[], dict[str, Any]]
    stamps: Callable[[], list[Stamp]]
    checkpoints: Callable[[], list[int]]
    samples: list[Sample] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self, seconds: float = 1.0) -> Iterator[None]:
        """Look every so many seconds while the block runs.

        Raises:
            AssertionError: the status has claimed more than was done.
        """
        thread = threading.Thread(target=self._run, args=(seconds,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(30.0)
        assert self.samples, "nothing was seen"
        found = lies(self.samples)
        assert not found, found

    def look(self) -> None:
        """Take a sample. What a process that has ended did since the last look is not known, and is held against nobody."""
        at, checkpoints = time.monotonic(), None
        status = self.status()
        with suppress(FileNotFoundError):
            checkpoints = tuple(self.checkpoints())
        stamps = tuple(stamp.step for stamp in self.stamps() if stamp.step is not None)
        last = self.samples[-1] if self.samples else Sample(at, {}, None, None, ())
        log = last.checkpoints if checkpoints is None else checkpoints
        has_ended = len(stamps) < len(last.current)
        stepped = time.monotonic() if has_ended or set(stamps) - set(last.current) - {0} else last.stepped_at
        seen = [*stamps, *log, *([last.step] if last.step is not None else [])]
        if has_ended or not stamps:
            seen.append(int(status.get("step") or 0))
        self.samples.append(Sample(at, status, max(seen, default=None), stepped, log, stamps))

    def _run(self, seconds: float) -> None:
        while not self._over.wait(seconds):
            self.look()


def stamps_of(agents: list[int]) -> list[Stamp]:
    """Return the stamps in the pages that these agents hold: /proc lets others read what a process has open."""
    found = []
    for agent in agents:
        with suppress(OSError):
            for descriptor in Path(f"/proc/{agent}/fd").iterdir():
                with suppress(OSError, ValueError):
                    if descriptor.readlink().name.startswith("memfd:stamp-") and (stamp := read_stamp(descriptor.read_bytes())):
                        found.append(stamp)
    return found


def agents_of(job: str) -> list[int]:
    """Return the process ids of the agents of a job, namespace/name, on this machine, in whatever containers they run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"trainingjob_agent" in words and f"TRAININGJOB_JOB={job}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def witness_of(job: Any) -> Witness:
    """Return a witness of a job of this machine (local_job.LocalJob)."""
    return Witness(job.status, lambda: stamps_of([agent.pid for agent, _ in job.workers().values()]), job.checkpoints)
