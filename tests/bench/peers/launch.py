"""Starts a peer's script, by torchrun or alone, and leaves nothing of it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.training.job import Size
from bench.training.workload import Mark, marks
from local_job import ROOT, Process, children, until

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SCRIPTS = Path(__file__).parent
VARIABLES = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""The last: restarted processes would find the addresses of those before them in the store, and never form a group (pytorch#135712)."""


@dataclass
class Peer:
    """A running peer."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    def seen(self, newest: int | None = None) -> dict[int, list[Mark]]:
        """Process id -> its marks; with `newest`, those in so many bytes at the end."""
        return marks(self.folder, newest)

    def workers(self) -> list[Process]:
        """Its training processes: the children of the program that was started."""
        return children(self.process.pid)

    def ends(self, seconds: float) -> None:
        """Wait for its good end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the peer runs still after {seconds:g} s:\n{self.said()}") from None
        assert code == 0, f"the peer ended with {code}:\n{self.said()}"

    def until(self, what: str, look, seconds: float):
        """Wait for a condition; a peer that ends before it has failed."""

        def seen():
            found = look()
            assert found or self.process.poll() is None, f"the peer ended with {self.process.returncode} before: {what}\n{self.said()}"
            return found

        return until(what, seen, seconds)

    def said(self) -> str:
        """The end of what it printed."""
        return self.output.read_text(errors="replace")[-4000:]


@contextmanager
def started(folder: Path, command: Sequence[str], environ: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """Run `command` with `--marks FOLDER`, one thread a process."""
    folder.mkdir(parents=True)
    output = folder / "output.log"
    environment = {**os.environ, **VARIABLES, **(environ or {}), "PYTHONPATH": str(ROOT / "tests")}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--marks", str(folder)],
            env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    peer = Peer(process, folder, output)
    try:
        yield peer
    finally:
        _end(peer)


def _end(peer: Peer) -> None:
    left = [*peer.workers(), *(child for worker in peer.workers() for child in children(worker.pid))]
    if peer.process.poll() is None:
        peer.process.kill()
        peer.process.wait()
    for process in left:
        with suppress(ProcessLookupError):
            if process.lives():
                os.kill(process.pid, signal.SIGKILL)


def ddp(size: Size, processes: int, steps: int, save_every: int, storage: Path) -> list[str]:
    """The command of peers/ddp.py on this machine."""
    return [*_torchrun("ddp.py", size, processes, save_every, storage), f"--steps={steps}"]


def elastic(size: Size, processes: int, save_every: int, storage: Path) -> list[str]:
    """The command of peers/elastic.py on this machine: torchrun looks at its processes ten times a second, and restarts them for ever."""
    command = _torchrun("elastic.py", size, processes, save_every, storage, "--monitor-interval=0.1", "--max-restarts=1000")
    return [*command, f"--loaders={size.loaders}"]


def _torchrun(script: str, size: Size, processes: int, save_every: int, storage: Path, *options: str) -> list[str]:
    words = {"width": size.width, "layers": size.layers, "batch": size.batch, "samples": size.samples, "save-every": save_every}
    given = [f"--{name}={value}" for name, value in {**words, "storage": storage}.items()]
    return [*TORCHRUN, "--standalone", f"--nproc-per-node={processes}", *options, str(SCRIPTS / script), *given]
