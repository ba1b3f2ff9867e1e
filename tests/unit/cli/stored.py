"""A job in the state folder, as `run` makes it, and a log in its storage."""

from pathlib import Path

from trainingjob_api.status import Status
from trainingjob_api.storage.entries import Checkpoint, Claim, Entry
from trainingjob_api.storage.layout import log_key
from trainingjob_cli import manifest, run
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.local.jobs import LocalJobs
from trainingjob_storage.files import FileStore

KEY = job_key("default", "digits")


MANIFEST = """
apiVersion: batch.trainingjob.dev/v1alpha1
kind: TrainingJob
metadata: {{name: digits}}
spec:
  workers: {{replicas: 3, minReplicas: 2}}
  training:
    task: {{class: "tasks:Digits"}}
    optimizer: {{name: AdamW, learningRate: 1e-3}}
    globalBatchSize: {batch}
    epochs: 1
  checkpoint: {{storage: {{uri: "file://{storage}"}}}}
"""


def write_manifest(folder: Path, batch: int = 8) -> Path:
    path = folder / "job.yaml"
    path.write_text(MANIFEST.format(batch=batch, storage=folder / "storage"))
    return path


def make_stored(folder: Path, status: Status | None = None) -> LocalJobs:
    """A job in the state folder, as `run` makes it."""
    jobs = LocalJobs(folder / "state")
    run.keep(jobs, KEY, manifest.load(folder / "job.yaml"), folder)
    jobs.write_status(KEY, (status or Status()).to_object())
    return jobs


BEGUN = Status(attempt=1, opened_attempt=1, phase="Suspended")
"""Of a job that has trained."""


def write_log(folder: Path, *steps: int, owner: str = "u") -> None:
    store = FileStore(f"file://{folder}/storage", folder / "storage")
    entries: list[Entry] = [Claim(seq=0, nonce="u", time=0.0, owner_uid=owner, owner_name="default/digits")]
    for seq, step in enumerate(steps, 1):
        entries.append(Checkpoint(seq=seq, nonce=str(seq), time=0.0, step=step, save=f"{step:08d}-a", manifest_sha256="0" * 64))
    for entry in entries:
        store.create(log_key(entry.seq), entry.to_bytes())


def uid_of(jobs: LocalJobs) -> str:
    uid: str = (jobs.read(KEY) or {})["metadata"]["uid"]
    return uid
