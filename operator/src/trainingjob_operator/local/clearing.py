"""Ends everything that runs of a local job. Effects: signals, files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from trainingjob_operator.local.folder import JobFolder
from trainingjob_operator.local.pods import LocalPods


def end_all(folder: JobFolder, caller: Mapping[str, str], directory: Path) -> None:
    """End all processes of the job: SIGTERM and the pods' own grace, since an agent in the middle of an upload may finish it.

    The caller is in charge of the job, and runs no event loop.
    """
    asyncio.run(_end_all(folder, caller, directory))


async def _end_all(folder: JobFolder, caller: Mapping[str, str], directory: Path) -> None:
    ended = asyncio.Event()
    pods = LocalPods(folder, caller, directory, ended.set)
    for pod in pods.observe():
        pods.delete(pod.name, None)
    while pods.observe():
        await ended.wait()
        ended.clear()
    pods.close()
