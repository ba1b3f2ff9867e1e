"""A job run by the real command in folders of its own, seen from outside: its state files, its processes, its storage.

Nothing here waits for a time to pass: `until` waits for a condition, and fails with what it saw last.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "trainingjob_cli"]
TASKS = ROOT / "tests" / "e2e" / "tasks"
"""On the PYTHONPATH of every job."""
POLL_SECONDS = 0.02


Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found | None], seconds: float = 60.0) -> Found:
    """The first true answer of `look`, which takes a third of the time at most: a kubectl takes a processor from what is waited for."""
    began = time.monotonic()
    deadline = began + seconds
    while not (found := look()):
        ended = time.monotonic()
        assert ended < deadline, f"not within {seconds} s: {what}; seen last: {found!r}"
        threading.Event().wait(max(POLL_SECONDS, 2 * (ended - began)))
        began = time.monotonic()
    return found


@dataclass(frozen=True)
class Process:
    """A process, named so that a later one with its number is not taken for it."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now; zombies do not count."""
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return None if fields[0] == "Z" else cls(pid, int(fields[19]))
        return None

    def lives(self) -> bool:
        """It has not ended."""
        return Process.of(self.pid) == self

    def kill(self) -> None:
        """SIGKILL, and proof that it was there to be killed."""
        assert self.lives()
        os.kill(self.pid, signal.SIGKILL)

    @contextmanager
    def paused(self, seconds: float) -> Iterator[None]:
        """SIGSTOP for so long at least, or until the body has ended; and proof that it stood still to the end."""
        os.kill(self.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            until("it has stopped", self.is_stopped)
            yield
            until(f"{seconds} s have passed", lambda: time.monotonic() >= began + seconds, seconds + 1)
            assert self.is_stopped()
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def is_stopped(self) -> bool:
        """It is stopped by a signal."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False


def children(pid: int) -> list[Process]:
    """The living children of all threads of a process."""
    numbers: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            numbers += [int(word) for word in (task / "children").read_text().split()]
    return [process for number in numbers if (process := Process.of(number))]


class LocalJob:
    """One manifest, one state folder, one storage folder."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.name: str = manifest["metadata"]["name"]
        self.state = folder / "state"
        self.storage = folder / "storage"
        self.file = folder / "job.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        storage = manifest["spec"].setdefault("checkpoint", {}).setdefault("storage", {"uri": "file:"})
        if storage["uri"].startswith("file:"):
            storage["uri"] = self.storage.as_uri()
        self.write()

    def write(self) -> None:
        """Put the manifest, as it is now, into its file."""
        YAML(typ="safe").dump(self.manifest, self.file)

    def environment(self) -> dict[str, str]:
        """The caller's, with this job's state folder, and the tests' tasks."""
        path = ":".join(part for part in (os.environ.get("PYTHONPATH", ""), str(TASKS)) if part)
        return {**os.environ, "PYTHONPATH": path, "TRAININGJOB_STATE_DIR": str(self.state), "COLUMNS": "160"}

    def command(self, *arguments: str, seconds: float = 60.0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `trainingjob …` to its end."""
        command = [*COMMAND, *arguments]
        return subprocess.run(
            command, env=self.environment(), cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Run]:
        """`trainingjob run` in the background; whatever the test does, nothing of it is left afterwards."""
        output = (self.folder / "run.log").open("a+")
        process = subprocess.Popen(
            [*COMMAND, "run", str(self.file), "--plain", *arguments],
            env=self.environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        run = Run(self, process, self.folder / "run.log")
        try:
            yield run
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for left in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(left.pid, signal.SIGKILL)
            output.close()

    def run(self, *arguments: str, seconds: float = 180.0) -> subprocess.CompletedProcess[str]:
        """`trainingjob run` to its end."""
        with self.running(*arguments) as run:
            return run.ends(seconds)

    # --- what is seen from outside ---

    @property
    def own(self) -> Path:
        """The job's state folder."""
        return self.state / "default" / self.name

    def status(self) -> dict[str, Any]:
        """The status as it is now; empty before there is one."""
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.own / "status.json").read_text())
            return found
        return {}

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition of the job; empty if it is not there."""
        found = [condition for condition in self.status().get("conditions", ()) if condition["type"] == kind]
        assert len(found) <= 1, found
        return found[0] if found else {}

    def step(self) -> int:
        """The newest step that the status knows."""
        return int(self.status().get("step") or 0)

    def events(self) -> list[dict[str, Any]]:
        """All events so far."""
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.own / "events.jsonl").read_text().splitlines()]
        return []

    def log(self) -> list[dict[str, Any]]:
        """The entries of the job's log in its storage."""
        return [json.loads(path.read_text()) for path in sorted((self.storage / "log").glob("*.json"))]

    def checkpoints(self) -> list[int]:
        """Steps of all checkpoint entries in the log, in their order."""
        return [entry["step"] for entry in self.log() if entry["kind"] == "checkpoint"]

    def pods(self) -> dict[str, Process]:
        """Name -> main process of every pod that lives."""
        found: dict[str, Process] = {}
        for path in (self.own / "pods").glob("*.json"):
            with suppress(FileNotFoundError, json.JSONDecodeError):
                record = json.loads(path.read_text())
                if record["pid"] and (process := Process.of(record["pid"])):
                    found[path.stem] = process
        return found

    def rendezvous(self) -> Process:
        """The rendezvous' process."""
        (found,) = [process for name, process in self.pods().items() if "rendezvous" in name]
        return found

    def workers(self) -> dict[int, tuple[Process, list[Process]]]:
        """Worker index -> its agent and its training processes."""
        found: dict[int, tuple[Process, list[Process]]] = {}
        for path in (self.own / "pods").glob("*.json"):
            with suppress(FileNotFoundError, json.JSONDecodeError):
                record = json.loads(path.read_text())
                labels = record["manifest"]["metadata"]["labels"]
                if labels["batch.trainingjob.dev/role"] == "worker" and record["pid"] and (agent := Process.of(record["pid"])):
                    found[int(labels["batch.trainingjob.dev/worker-index"])] = (agent, children(agent.pid))
        return found

    def trainers(self) -> dict[int, Process]:
        """Worker index -> its one training process, for workers that have it."""
        return {index: processes[0] for index, (_, processes) in self.workers().items() if processes}

    def processes(self) -> list[Process]:
        """Every living process of the job: agents, rendezvous and training processes."""
        mark = str(self.state).encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if mark in path.read_bytes() and (process := Process.of(int(path.parent.name))) and process.pid != os.getpid():
                    found.append(process)
        return found

    def model(self) -> Path:
        """The folder of the newest exported model."""
        return max((self.storage / "export").iterdir(), key=lambda path: path.stat().st_mtime_ns)


@dataclass
class Run:
    """A `trainingjob run` in the background."""

    job: LocalJob
    process: subprocess.Popen[Any]
    output: Path

    def ends(self, seconds: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Wait for its end; says its output if it does not come."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.output.read_text()[-6000:]}") from None
        return subprocess.CompletedProcess(self.process.args, code, self.output.read_text(), "")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def until(self, what: str, look: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait for a condition; a run that ends before it is a failure of its own."""

        def seen() -> Any:
            found = look()
            assert found or self.process.poll() is None, (
                f"ended with {self.process.returncode} before: {what}\n{self.output.read_text()[-6000:]}"
            )
            return found

        return until(what, seen, seconds)

    def until_step(self, step: int, seconds: float = 60.0) -> None:
        """Wait until the status knows of `step`."""
        self.until(f"step {step}", lambda: self.job.step() >= step, seconds)


def load(name: str) -> dict[str, Any]:
    """An example's manifest."""
    manifest: dict[str, Any] = YAML(typ="safe").load((ROOT / "examples" / name).read_text())
    return manifest
