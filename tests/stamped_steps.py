"""Which steps a job's processes really compute, read from their stamp pages: no program of the job is asked."""

from __future__ import annotations

import mmap
import time
from contextlib import suppress
from pathlib import Path

from local_job import LocalJob, until
from trainingjob_agent.stamp import PAGE_BYTES, Stamp, StampPage
from trainingjob_api.contract.messages import Phase

PACE_SECONDS = 6.0


def taken(job: LocalJob) -> dict[int, int]:
    """Worker -> the step that it computes, by its stamp page: no program is asked."""
    found = {}
    for index, (agent, _) in job.workers().items():
        for link in Path(f"/proc/{agent.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # another descriptor, closed since
                if "memfd:stamp-" in str(link.readlink()):
                    found[index] = stamped(link)
    return found


def stamped(page: Path) -> int:
    """The step on a stamp page."""
    with page.open("rb") as file, mmap.mmap(file.fileno(), PAGE_BYTES, access=mmap.ACCESS_READ) as memory:
        found = StampPage.__new__(StampPage)
        found._page, found._newest = memory, Stamp(None, None, Phase.STARTING, 0, 0, 0)
        return found.read().step or 0


def pace(job: LocalJob, seconds: float = PACE_SECONDS) -> float:
    """Steps a second of the slowest worker."""
    began, before = time.monotonic(), taken(job)
    until("the time passes", lambda: time.monotonic() >= began + seconds, seconds + 5)
    after = taken(job)
    assert before.keys() == after.keys() == {0, 1, 2}
    return min(after[worker] - before[worker] for worker in before) / (time.monotonic() - began)
