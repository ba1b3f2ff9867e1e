"""One TrainingJob in a namespace of the cluster, seen from outside: kubectl, the pods' processes, the bucket."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from e2e.cluster.kube import Kube
from local_job import until
from witness import Witness, agents_of, stamps_of

KIND = "trainingjobs.batch.trainingjob.dev"
PROCESSES = """
import os, json
found = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        command = open(f'/proc/{pid}/cmdline').read().split(chr(0))
        began = int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[19])
    except OSError:
        continue
    if command[2:3] in (['trainingjob_trainer'], ['trainingjob_agent']):
        found.append([int(pid), began])
print(json.dumps(sorted(found)))
"""
"""What runs in a worker's pod: [pid, start time] of the agent and of its training processes."""
RUN_SECONDS = 240.0


@dataclass(frozen=True)
class ClusterJob:
    """The job."""

    kube: Kube
    namespace: str
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.manifest["metadata"]["name"]
        return name

    # --- what the user does ---

    def apply(self) -> str:
        """`kubectl apply`; what it printed."""
        return self.kubectl("apply", "-f", "-", stdin=json.dumps(self.manifest))

    def patch(self, **spec: Any) -> None:
        """Change fields of the spec."""
        self.kubectl("patch", KIND, self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete_pod(self, name: str, *flags: str) -> None:
        """Delete a pod, without waiting for its end; the proof that it was there is that kubectl finds it."""
        self.kubectl("delete", "pod", name, "--wait=false", *flags)

    def delete(self, *flags: str) -> None:
        """Delete the job."""
        self.kubectl("delete", KIND, self.name, "--ignore-not-found", *flags)

    def lose_status(self) -> None:
        """What a backup without statuses brings back: the job, and nothing that was known of it."""
        job = self.kube.get(KIND, self.name, "-n", self.namespace)
        assert job.pop("status")
        del job["metadata"]["resourceVersion"]
        self.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(job))

    # --- what is seen ---

    def status(self) -> dict[str, Any]:
        """Its status; {} at first."""
        found: dict[str, Any] = self.kube.get(KIND, self.name, "-n", self.namespace).get("status") or {}
        return found

    def pods(self, role: str = "worker") -> dict[str, dict[str, Any]]:
        """The job's pods of a role, by name, apart from those that are going."""
        items = self.kube.items(
            "pods", "-n", self.namespace, "-l", f"batch.trainingjob.dev/job={self.name},batch.trainingjob.dev/role={role}"
        )
        return {item["metadata"]["name"]: item for item in items if "deletionTimestamp" not in item["metadata"]}

    def worker(self, index: int) -> str:
        """The name of a worker's pod."""
        return next(
            name for name, pod in self.pods().items() if pod["metadata"]["labels"]["batch.trainingjob.dev/worker-index"] == str(index)
        )

    def uids(self) -> dict[str, str]:
        """The workers' pods by name, told from later ones of the same name."""
        return {name: pod["metadata"]["uid"] for name, pod in self.pods().items()}

    def lives(self) -> dict[str, Any]:
        """Every pod of the job, and what changes when one is touched: uid, start, the containers' numbers."""
        found = {}
        for name, pod in (self.pods() | self.pods("rendezvous")).items():
            status = pod["status"]
            containers = [state["containerID"] for state in status["containerStatuses"]]
            found[name] = (pod["metadata"]["uid"], status["startTime"], containers)
        return found

    def processes(self, pod: str) -> list[tuple[int, int]]:
        """(pid, start time) of agent and training processes in a pod."""
        shown = self.kubectl("exec", pod, "--", "python", "-c", PROCESSES)
        return [(pid, began) for pid, began in json.loads(shown)]

    def events(self) -> dict[str, list[str]]:
        """The job's story: reason -> messages."""
        found: dict[str, list[str]] = {}
        for event in self.kube.items("events", "-n", self.namespace):
            if event["involvedObject"]["name"] == self.name and event["involvedObject"]["kind"] == "TrainingJob":
                found.setdefault(event["reason"], []).append(event["message"])
        return found

    def leftovers(self) -> list[str]:
        """Everything in the namespace that is the job's."""
        kinds = "pods,services,secrets,networkpolicies,controllerrevisions"
        shown = self.kubectl("get", kinds, "-l", f"batch.trainingjob.dev/job={self.name}", "-o", "name")
        return shown.split()

    def log(self) -> list[dict[str, Any]]:
        """The entries of the job's log in the bucket."""
        bucket, prefix = self.kube.storage.bucket, self._prefix()
        return [json.loads(self.kube.storage.read(f"s3://{bucket}/{key}")) for key in sorted(self.kube.storage.list(f"{prefix}/log/"))]

    def committed(self) -> list[int]:
        """Steps of all checkpoint entries of the log, in their order."""
        return [entry["step"] for entry in self.log() if entry["kind"] == "checkpoint"]

    def witnessed(self) -> AbstractContextManager[None]:
        """Hold the status against the steps that are really taken, where the nodes' processes are this machine's own."""
        if self.kube.audit_log is None:
            return nullcontext()
        return Witness(self.status, lambda: stamps_of(agents_of(f"{self.namespace}/{self.name}")), self.committed).watching(2.0)

    def _prefix(self) -> str:
        uri: str = self.manifest["spec"]["checkpoint"]["storage"]["uri"]
        return uri.partition(f"{self.kube.storage.bucket}/")[2]

    # --- waiting ---

    def step(self) -> int:
        """The last finished step that the status tells."""
        return int(self.status().get("step") or 0)

    def reaches(self, step: int) -> int:
        """Wait until this step is finished."""
        return until(f"{self.name} has reached step {step}", lambda: (found := self.step()) >= step and found, RUN_SECONDS)

    def commits(self, step: int) -> int:
        """Wait for a checkpoint of this step or a later one."""
        return until(
            f"{self.name} has checkpoint {step}",
            lambda: (found := int(self.status().get("checkpoint") or 0)) >= step and found,
            RUN_SECONDS,
        )

    def phase(self, *words: str) -> dict[str, Any]:
        """Wait until its phase is one of these; the status then."""

        def look() -> dict[str, Any] | None:
            status = self.status()
            assert status.get("phase") == "Failed" in words or status.get("phase") != "Failed", status
            return status if status.get("phase") in words else None

        return until(f"{self.name} is {' or '.join(words)}", look, RUN_SECONDS)

    def succeeds(self) -> dict[str, Any]:
        """Wait for its end; the status then."""
        return self.phase("Succeeded")

    # --- its results ---

    def weights(self) -> str:
        """A checksum of the finished model's weights."""
        return hashlib.sha256(self.kube.storage.read(f"{self.status()['model']}/model.safetensors")).hexdigest()

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in the job's namespace."""
        return self.kube.run("kubectl", "-n", self.namespace, *words, stdin=stdin)
