"""torchrun in the places of a network: an agent in each, elastic from two to three nodes; the coordinator is in place 1, never cut off."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.peers.launch import SCRIPTS, TORCHRUN, VARIABLES
from bench.training.job import Size
from bench.training.workload import Mark, marks
from e2e.network.namespaces import Network
from local_job import ROOT

PORT = 29500


class CutPeer:
    """elastic.py under torchrun, one process in each place.

    Args:
        folder: its own; not there yet.
        network: with a place for every worker.
        size: of the workload.
    """

    def __init__(self, folder: Path, network: Network, size: Size) -> None:
        self.folder, self.network, self.size = folder, network, size
        folder.mkdir(parents=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """It runs; nothing of it is left afterwards."""
        processes = [self._start(place) for place in (1, 0, 2)]
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for file in self.folder.glob("*.marks"):  # torchrun's workers have sessions of their own
                with suppress(ProcessLookupError):
                    os.kill(int(file.stem), signal.SIGKILL)

    def seen(self, newest: int | None = None) -> dict[int, list[Mark]]:
        """Process id -> its marks; with `newest`, those in so many bytes at the end."""
        return marks(self.folder, newest)

    def _start(self, place: int) -> subprocess.Popen[bytes]:
        size = self.size
        words = {"width": size.width, "layers": size.layers, "batch": size.batch, "samples": size.samples, "save-every": 100}
        given = [f"--{name}={value}" for name, value in {**words, "storage": self.folder, "marks": self.folder}.items()]
        options = [
            "--nnodes=2:3", "--nproc-per-node=1", "--max-restarts=1000", "--monitor-interval=0.1", "--rdzv-backend=c10d", "--rdzv-id=cut",
            f"--rdzv-endpoint={self.network.address(1)}:{PORT}", f"--local-addr={self.network.address(place)}",
            f"--rdzv-conf=is_host={'true' if place == 1 else 'false'}",
        ]  # fmt: skip
        environment = {**os.environ, **VARIABLES, "GLOO_SOCKET_IFNAME": "eth0", "PYTHONPATH": str(ROOT / "tests")}
        with (self.folder / f"{place}.log").open("wb") as output:
            return subprocess.Popen(
                self.network.inside(place, [*TORCHRUN, *options, str(SCRIPTS / "elastic.py"), *given]),
                env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
