"""The TrainingJobs of a state folder: what the API server is to the operator in a cluster.

Effects: files. job.json holds metadata and spec and is edited by any process, under a lock and counted in metadata.generation;
status.json is written by whoever is in charge of the job. Neither write can lose the other.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.engine.values import Event, Manifest, ResourceKey
from trainingjob_operator.local.folder import JobFolder, locked

DIRECTORY_ANNOTATION = "batch.trainingjob.dev/directory"
"""Where the job's manifest lay: local processes find the user's own modules there."""
WORKING_ANNOTATION = "batch.trainingjob.dev/working-directory"
"""Where `trainingjob run` was called: local processes work there, whoever starts them later."""
MAX_EVENTS = 1000
"""Events of a job that are kept."""

_STORAGE = "_storage"
"""No namespace is called so."""
_DELETED = "_deleted"
"""Nor so. An empty file here for each uid: its storage may be there still, and nobody trains in it."""

Spec = dict[str, Any]


class UnknownJobError(ValueError):
    """There is no such job in the state folder."""


class LocalJobs:
    """All jobs below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: ResourceKey) -> JobFolder:
        """The files of the job `key`, which need not exist."""
        return JobFolder(self.root, key)

    def storage(self, namespace: str, name: str) -> str:
        """Return where a job that names no storage keeps its checkpoints: below `root`, and not with the job, since that may go alone."""
        return (self.root / _STORAGE / namespace / name).as_uri()

    def all(self) -> list[ResourceKey]:
        """All jobs, by name."""
        return [job_key(path.parent.parent.name, path.parent.name) for path in sorted(self.root.glob("*/*/job.json"))]

    def read(self, key: ResourceKey) -> Manifest | None:
        """The TrainingJob as the API server would return it, or None."""
        folder = self.folder(key)
        try:
            manifest: Manifest = json.loads(folder.job.read_text())
        except FileNotFoundError:
            return None
        if folder.status.exists():
            manifest["status"] = json.loads(folder.status.read_text())
        return manifest

    def create(self, manifest: Manifest, directory: Path, working: Path | None = None) -> None:
        """Keep a new job, giving it what the API server would.

        Args:
            manifest: metadata and spec.
            directory: where the manifest lies.
            working: where the job's processes are to work. Default: there, too.

        Raises:
            FileExistsError: there is a job of that name.
        """
        metadata = manifest.get("metadata", {})
        key = job_key(metadata.get("namespace") or "default", metadata["name"])
        folder = self.folder(key)
        with locked(folder):
            if folder.job.exists():
                raise FileExistsError(folder.job)
            complete = {
                **metadata,
                "namespace": key.namespace,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": _now(),
                "annotations": {**(metadata.get("annotations") or {}), **_places(directory, working or directory)},
            }
            kept = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": complete, "spec": manifest["spec"]}
            folder.write(folder.job, json.dumps(kept, indent=1))

    def replace(self, manifest: Manifest, directory: Path, working: Path) -> None:
        """Put another manifest in the place of a job that has stored nothing and of which nothing runs. It keeps its uid."""
        metadata = manifest["metadata"]
        folder = self.folder(job_key(metadata["namespace"], metadata["name"]))
        with locked(folder):
            kept = json.loads(folder.job.read_text())
            fresh = {
                **kept["metadata"],
                "generation": kept["metadata"]["generation"] + 1,
                "creationTimestamp": _now(),
                "annotations": {**(metadata.get("annotations") or {}), **_places(directory, working)},
                "labels": metadata.get("labels") or {},
            }
            folder.status.unlink(missing_ok=True)
            for place in (folder.pods, folder.objects):
                shutil.rmtree(place, ignore_errors=True)
            folder.write(folder.job, json.dumps({**kept, "metadata": fresh, "spec": manifest["spec"]}, indent=1))

    def move(self, key: ResourceKey, directory: Path, working: Path) -> bool:
        """Record where the job's manifest lies and where its next processes are to work. Return whether they worked elsewhere before."""
        folder = self.folder(key)
        with locked(folder):
            manifest = json.loads(folder.job.read_text())
            annotations = manifest["metadata"].get("annotations") or {}
            manifest["metadata"]["annotations"] = {**annotations, **_places(directory, working)}
            if manifest["metadata"]["annotations"] != annotations:
                folder.write(folder.job, json.dumps(manifest, indent=1))
            return annotations.get(WORKING_ANNOTATION) not in (None, str(working))

    def edit(self, key: ResourceKey, change: Callable[[Spec], Spec]) -> bool:
        """Replace the spec by `change(spec)`, read and written under the job's lock. True if that changed anything.

        Raises:
            UnknownJobError: there is no such job.
        """
        folder = self.folder(key)
        if not folder.job.exists():
            raise UnknownJobError(unknown(key, self.all()))
        with locked(folder):
            manifest = json.loads(folder.job.read_text())
            spec = change(json.loads(json.dumps(manifest["spec"])))
            if spec == manifest["spec"]:
                return False
            manifest["spec"] = spec
            manifest["metadata"]["generation"] += 1
            folder.write(folder.job, json.dumps(manifest, indent=1))
            return True

    def write_status(self, key: ResourceKey, status: dict[str, Any]) -> None:
        """Replace the status. Only whoever is in charge of the job calls this."""
        folder = self.folder(key)
        folder.write(folder.status, json.dumps(status))

    def add_events(self, key: ResourceKey, events: tuple[Event, ...]) -> None:
        """Append to the job's story."""
        folder = self.folder(key)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"time": now, "type": event.type, "reason": event.reason, "message": event.message}) + "\n" for event in events]
        folder.append(folder.events, "".join(lines))

    def events(self, key: ResourceKey, newest: int = MAX_EVENTS) -> list[dict[str, str]]:
        """The newest events, oldest first: time, type, reason, message."""
        try:
            lines = self.folder(key).events.read_text(encoding="utf-8").splitlines()[-newest:]
        except FileNotFoundError:
            return []
        return [event for event in map(_event, lines) if event is not None]

    def remove(self, key: ResourceKey) -> None:
        """Delete the job's folder, and its namespace's if that is empty now. Its uid stays among `past`."""
        folder = self.folder(key)
        if (manifest := self.read(key)) is not None:
            mark = self._past(key) / manifest["metadata"]["uid"]
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        folder.job.unlink(missing_ok=True)  # first: without it the job is gone, whatever is left
        shutil.rmtree(folder.path, ignore_errors=True)
        try:
            folder.path.parent.rmdir()
        except OSError:
            return

    def past(self, key: ResourceKey) -> frozenset[str]:
        """Return the uids of the jobs of this name that were deleted here."""
        place = self._past(key)
        return frozenset(path.name for path in place.iterdir()) if place.is_dir() else frozenset()

    def _past(self, key: ResourceKey) -> Path:
        return self.root / _DELETED / key.namespace / key.name


def _event(line: str) -> dict[str, str] | None:
    """Return the event of a line; None where a writer was killed in the middle of it."""
    try:
        event: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return event


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _places(directory: Path, working: Path) -> dict[str, str]:
    return {DIRECTORY_ANNOTATION: str(directory), WORKING_ANNOTATION: str(working)}


def unknown(key: ResourceKey, known: list[ResourceKey]) -> str:
    """The message for a job that is not there."""
    names = ", ".join(str(other.name) for other in known[:10]) or "none"
    return f"there is no job {key.name} in namespace {key.namespace}; known jobs: {names}"
