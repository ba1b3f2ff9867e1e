"""A job whose workers have a network each: the real rendezvous in the hub, a real agent in every place, and who listens to the reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.training.job import Size, _manifest
from bench.training.workload import Mark, marks
from certificates import make_certificate
from e2e.network.namespaces import HUB, Network
from local_job import ROOT, until
from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.runtime import RendezvousEnvironment, WorkerEnvironment
from trainingjob_api.spec.job import JobSpec

PORT = 29400
NODES = ("node-a", "node-a", "node-b")
"""Where the workers are said to be."""


class NetworkJob:
    """Trains bench.training.task with one worker in each place.

    Args:
        folder: its own; not there yet.
        network: with a place for every worker.
        size: of the workload.
        steps: until it ends by itself.
        changes: fields of spec.training to set.
    """

    def __init__(self, folder: Path, network: Network, size: Size, steps: int, **changes: Any) -> None:
        self.folder, self.network = folder, network
        self.marks = folder / "marks"
        self.marks.mkdir(parents=True)
        spec = _manifest(self.marks, size, network.count, steps, 10**9)["spec"]
        spec["checkpoint"]["storage"]["uri"] = (folder / "storage").as_uri()
        spec["training"] |= changes
        self._spec = JobSpec.model_validate(spec)
        self._certificate, self._private_key = make_certificate()
        self.processes: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Rendezvous, agents and the listener run; nothing of them is left afterwards."""
        try:
            self._start(HUB, "rendezvous", ["-m", "trainingjob_rendezvous"], self._rendezvous().to_env())
            for place in range(self.network.count):
                self._start(place, f"worker-{place}", ["-m", "trainingjob_agent"], self._worker(place).to_env())
            told = {"LISTEN_CERTIFICATE": self._certificate}
            self._start(HUB, "reports", ["-m", "e2e.network.listen", f"127.0.0.1:{PORT}"], told)
            yield
        finally:
            for process in self.processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def seen(self, newest: int | None = None) -> dict[int, list[Mark]]:
        """Process id -> its marks; with `newest`, those in so many bytes at the end."""
        return marks(self.marks, newest)

    def reports(self) -> list[dict[str, Any]]:
        """What the rendezvous has told the operator so far."""
        lines = (self.folder / "reports.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, name: str) -> str:
        """What a process of this name has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def ends(self, seconds: float) -> None:
        """Wait until all agents have ended well."""
        agents = self.processes[1 : 1 + self.network.count]
        until("all agents have ended", lambda: all(agent.poll() is not None for agent in agents), seconds)
        assert [agent.returncode for agent in agents] == [0] * len(agents), self.said("worker-0")[-3000:]

    def model(self) -> bytes:
        """The exported weights."""
        (found,) = (self.folder / "storage" / "export").glob("*/model.safetensors")
        return found.read_bytes()

    def _start(self, place: int | str, name: str, words: list[str], variables: dict[str, str]) -> None:
        environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with (self.folder / f"{name}.log").open("wb") as output:
            command = self.network.inside(place, [sys.executable, *words])
            self.processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            )

    def _rendezvous(self) -> RendezvousEnvironment:
        workers = tuple(WorkerSeat(worker=place, incarnation=0, node=NODES[place % len(NODES)]) for place in range(self.network.count))
        asked = self._spec.workers
        intent = Intent(epoch=1, attempt=1, workers=workers, replicas=asked.replicas, min_workers=asked.minimum, build="b")
        return RendezvousEnvironment(
            job="default/cut",
            job_uid="uid",
            epoch=1,
            intent=intent.model_dump_json(),
            port=PORT,
            certificate=self._certificate,
            private_key=self._private_key,
            worker_token="worker",
            operator_token="operator",
        )

    def _worker(self, place: int) -> WorkerEnvironment:
        scratch = self.folder / f"scratch-{place}"
        scratch.mkdir()
        return WorkerEnvironment(
            job="default/cut",
            job_uid="uid",
            config=self._spec.model_dump_json(by_alias=True),
            build="b",
            worker=place,
            incarnation=0,
            rendezvous=f"{self.network.hub_address(place)}:{PORT}",
            rendezvous_certificate=self._certificate,
            token="worker",
            address=self.network.address(place),
            termination_log=str(scratch / "termination"),
            scratch=str(scratch),
        )
