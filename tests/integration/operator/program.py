"""The real operator as a process on this machine, against the API server of the tests; and a kubelet of a few lines.

Its jobs' rendezvous do not run here, so its streams never stand: what it learns of pods is all it knows. It is forked from a process that
has imported everything already, so that it can be killed and started a hundred times.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import sys
import warnings
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from integration.processes import free_port
from integration.rest import MERGE, Rest
from local_job import until

NAMESPACE = "trainingjob-system"
PHASES = {"Running": None, "Succeeded": 0, "Failed": 1}


FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["trainingjob_operator.engine.daemon.serve"])
END_SECONDS = 60.0


def end_with_parent() -> None:
    """Have the kernel end this process with the one that it was forked from."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def live(environ: dict[str, str], output: str) -> None:
    """The operator's whole life, in a process of its own that does not outlive the one that it was forked from."""
    end_with_parent()
    os.environ.clear()
    os.environ.update(environ)
    warnings.simplefilter("error", ResourceWarning)
    warnings.simplefilter("error", RuntimeWarning)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from trainingjob_operator.__main__ import main

    sys.exit(main())


class Operator:
    """`start` it, kill it, start it again: it keeps nothing between its lives."""

    def __init__(self, folder: Path, kubeconfig: Path, *, lease: str = "", **settings: Any) -> None:
        """`lease`: the one that it shares with others; by default it has one for itself."""
        config = folder / "config.json"
        config.write_text(json.dumps({"progressSeconds": 0.2} | settings))
        self._shares = bool(lease)
        self._log = folder / "operator.log"
        self._port = free_port()
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "POD_NAMESPACE": NAMESPACE,
            "POD_NAME": f"{folder.name}-{secrets.token_hex(3)}",
            "TRAININGJOB_OPERATOR_LEASE": lease or f"lease-{secrets.token_hex(3)}",
            "TRAININGJOB_OPERATOR_CONFIG": str(config),
            "TRAININGJOB_OPERATOR_ADDRESS": "127.0.0.1",
            "TRAININGJOB_OPERATOR_PORT": str(self._port),
        }
        self._process: ForkServerProcess | None = None
        self.lives = 0

    def start(self) -> None:
        """Start it, without waiting for anything."""
        self.lives += 1
        self._process = FORKS.Process(target=live, args=(self._environ, str(self._log)))
        self._process.start()

    def ready(self) -> None:
        """Wait until its caches are filled."""
        until("the operator is ready", self.is_ready)

    def is_ready(self) -> bool:
        """Its caches are filled, and its watches heard; one that has its lease for itself acts."""
        assert self._process is not None
        assert self._process.exitcode is None, f"the operator ended with {self._process.exitcode}:\n{self.log()[-4000:]}"
        try:
            return self._get("/readyz") == "ok\n" and (self._shares or self.leads())
        except OSError:
            return False

    def is_alive(self) -> bool:
        """Its event loop turns."""
        try:
            return self._get("/healthz") == "ok\n"
        except OSError:
            return False

    def readiness(self) -> tuple[int, str]:
        """What a readiness probe gets; 0 where nobody listens."""
        try:
            return 200, self._get("/readyz")
        except HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        assert self._process is not None
        return self._process.exitcode

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def pod(self) -> str:
        """The name that it goes by."""
        return self._environ["POD_NAME"]

    def leads(self) -> bool:
        """It acts."""
        return "trainingjob_operator_leads 1.0\n" in self.metrics()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self.kill()

    def metrics(self) -> str:
        """What Prometheus would read."""
        return self._get("/metrics")

    def metric(self, line: str) -> float | None:
        """The value in the first line that begins so; None if there is none."""
        found = [text.split()[-1] for text in self.metrics().splitlines() if text.startswith(line)]
        return float(found[0]) if found else None

    def log(self) -> str:
        """All that it has written, in all its lives."""
        return self._log.read_text()

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        assert process.pid is not None
        if process.exitcode is None:
            os.kill(process.pid, number)
        process.join(END_SECONDS)
        code = process.exitcode
        process.close()
        return code

    def _get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text


class Kubelet:
    """Says of pods what a kubelet would say."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest = rest
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def pods(self, role: str = "worker") -> dict[str, dict[str, Any]]:
        """The pods of a role, by name."""
        items = self._rest("GET", self.path, labelSelector=f"batch.trainingjob.dev/role={role}").body["items"]
        return {item["metadata"]["name"]: item for item in items}

    def say(
        self, name: str, phase: str, exit_code: int | None = None, words: str = "", *, may_be_gone: bool = False, **status: Any
    ) -> None:
        """The pod is in this phase; one that has ended leaves its last words."""
        container = "rendezvous" if "-rendezvous-" in name else "worker"
        state: dict[str, Any] = {"running": {}}
        if phase in ("Succeeded", "Failed"):
            code = PHASES[phase] if exit_code is None else exit_code
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "message": words}}
        statuses = [{"name": container, "ready": phase == "Running", "restartCount": 0, "image": "", "imageID": "", "state": state}]
        change = {"status": {"phase": phase, "containerStatuses": statuses} | status}
        answer = self._rest("PATCH", f"{self.path}/{name}/status", change, MERGE)
        assert answer.ok or (may_be_gone and answer.code == 404), answer.message

    def run_all(self) -> None:
        """Every pod that has been made runs."""
        for name in (*self.pods("rendezvous"), *self.pods()):
            self.say(name, "Running")

    def collect(self) -> None:
        """End the deletions that nobody else ends, as a cluster's garbage collector does."""
        for name, pod in (self.pods() | self.pods("rendezvous")).items():
            if "deletionTimestamp" in pod["metadata"]:
                self._rest("DELETE", f"{self.path}/{name}", {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})

    def remove(self, name: str, grace: int = 0) -> None:
        """The pod is deleted; with grace 0 it is gone."""
        answer = self._rest("DELETE", f"{self.path}/{name}", {"gracePeriodSeconds": grace})
        assert answer.ok, answer.message
