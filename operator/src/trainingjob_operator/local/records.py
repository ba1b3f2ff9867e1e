"""What is written down of each local pod, and what Kubernetes would say of it. Pure, but for reading and writing the records' files.

A record is written before its process is started and after: whatever moment the writer is killed at, the record's uid finds the process.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trainingjob_api.contract.runtime import Termination
from trainingjob_operator.controllers.training_job.children.names import EPOCH_LABEL, INCARNATION_LABEL, ROLE_LABEL, WORKER_INDEX_LABEL
from trainingjob_operator.controllers.training_job.state import Pod, PodPhase, Role
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.folder import JobFolder

UNKNOWN_EXIT = 137
"""What Kubernetes says of a container whose end nobody saw."""
_SIGNAL_BASE = 128
_DEFAULT_GRACE = 30.0
_CRASH_LOOP = 3


class PodRecord(BaseModel):
    """One pod as it lies in pods/<name>.json."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    uid: str
    """Unique for ever; in the environment of every process of the pod."""
    manifest: Manifest
    created: float
    """Unix time."""
    pid: int | None = None
    """Of the main process; None: none was started yet, or its start was not written down."""
    began: int | None = None
    """Its start time in ticks since boot."""
    boot: str = ""
    restarts: int = 0
    start_after: float = 0.0
    """Unix time before which no (next) process is started."""
    over: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    deleted_at: float | None = None
    """Unix time of the request to go away."""
    grace: float = _DEFAULT_GRACE

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def role(self) -> Role:
        """What the pod is."""
        return Role(self.manifest["metadata"]["labels"][ROLE_LABEL])

    def restarts_always(self) -> bool:
        """Its process is started again whenever it ends."""
        return bool(self.manifest["spec"].get("restartPolicy") == "Always")

    def own_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL, as the manifest says."""
        return float(self.manifest["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE))


class Records:
    """The records of one job's pods, and the files beside them."""

    def __init__(self, folder: JobFolder) -> None:
        self._job = folder
        self._folder = folder.pods

    def all(self) -> list[PodRecord]:
        """Every record, the eldest first."""
        records = [PodRecord.model_validate_json(path.read_text()) for path in self._folder.glob("*.json")]
        return sorted(records, key=lambda record: (record.created, record.name))

    def find(self, name: str) -> PodRecord | None:
        """The record of that name."""
        path = self._path(name)
        return PodRecord.model_validate_json(path.read_text()) if path.exists() else None

    def write(self, record: PodRecord) -> PodRecord:
        """Replace the record, durably."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._job.write(self._path(record.name), record.model_dump_json())
        return record

    def remove(self, record: PodRecord) -> None:
        """Forget the pod; its log stays until the job is deleted."""
        self.termination_log(record.name).unlink(missing_ok=True)
        self._path(record.name).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """What the pod's process prints."""
        return self._folder / f"{name}.log"

    def termination_log(self, name: str) -> Path:
        """The pod's last words."""
        return self._folder / f"{name}.termination"

    def scratch(self, name: str) -> Path:
        """A folder for the pod's own files."""
        return self._folder / f"{name}.scratch"

    def termination(self, name: str) -> Termination | None:
        """The pod's last words, if it left any that can be read."""
        try:
            return Termination.model_validate_json(self.termination_log(name).read_text())
        except (FileNotFoundError, ValidationError):
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def exit_code(returncode: int) -> int:
    """A child's return code as Kubernetes has it: 128 and the signal."""
    return _SIGNAL_BASE - returncode if returncode < 0 else returncode


def as_pod(record: PodRecord, termination: Termination | None) -> Pod:
    """What the operator sees of the pod."""
    labels = record.manifest["metadata"]["labels"]
    return Pod(
        name=record.name,
        role=record.role,
        phase=_phase(record),
        index=int(labels.get(WORKER_INDEX_LABEL, 0)),
        incarnation=int(labels.get(INCARNATION_LABEL if record.role is Role.WORKER else EPOCH_LABEL, 0)),
        deleting=record.deleted_at is not None,
        termination=termination if record.over else None,
        exit_code=record.exit_code if record.over else None,
        reason=record.reason or ("CrashLoopBackOff" if record.pid is None and record.restarts > _CRASH_LOOP else ""),
        message=record.message,
    )


def _phase(record: PodRecord) -> PodPhase:
    if record.over:
        return PodPhase.SUCCEEDED if record.exit_code == 0 else PodPhase.FAILED
    if record.pid is not None or record.restarts:
        return PodPhase.RUNNING
    return PodPhase.PENDING
