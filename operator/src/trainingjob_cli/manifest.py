"""Reads a TrainingJob, and the Secrets beside it, from a YAML file or from standard input. Effect: reads that, and nothing else.

The text is read as kubectl reads it. Every mistake of the user's is a ManifestError whose message names the place and the fix.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainingjob_api.resource import API_VERSION, KIND, TrainingJob
from trainingjob_api.spec.errors import explain
from trainingjob_cli.reading import secrets
from trainingjob_cli.reading.documents import ManifestError, documents
from trainingjob_cli.reading.overrides import overridden
from trainingjob_operator.engine.values import Manifest

__all__ = ["STDIN", "Bundle", "ManifestError", "bundle", "load", "parse", "read"]

MAX_BYTES = 1 << 20
"""A longer file is no manifest of ours."""
STDIN = "-"
"""The file that stands for standard input."""

Place = Callable[[str, str], str]
"""From a job's namespace and name to the URI of its storage."""


@dataclass(frozen=True)
class Bundle:
    """What a file holds."""

    job: TrainingJob
    secrets: tuple[Manifest, ...] = ()
    """The Secrets and ConfigMaps of the job's namespace."""
    notes: tuple[str, ...] = ()
    """A line for each document that is left out."""


def load(path: str | Path) -> TrainingJob:
    """Read the one TrainingJob in the file at `path`.

    Raises:
        ManifestError: when there is no such file, it is no YAML, or it is no TrainingJob that can work.
    """
    return bundle(path).job


def bundle(path: str | Path, name: str | None = None, settings: Sequence[str] = (), storage: Place | None = None) -> Bundle:
    """Read the file at `path`; `-` is standard input.

    Args:
        path: the file.
        name: which TrainingJob, where there are several.
        settings: what `--set` changes of it.
        storage: where a job of that namespace and name keeps its checkpoints if the manifest does not say; None: it has to.

    Raises:
        ManifestError: as `load` does; or there are several TrainingJobs and none is named.
    """
    if str(path) == STDIN:
        return chosen(_text(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input"), "standard input", name, settings, storage)
    return chosen(read(Path(path)), str(path), name, settings, storage)


def read(path: Path) -> str:
    """The file's text, or a ManifestError."""
    try:
        if path.is_dir():
            raise ManifestError(f"{path} is a folder; name the manifest in it")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    return _text(content, str(path))


def _text(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{source} has {len(content)} bytes; a TrainingJob has at most {MAX_BYTES}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ManifestError(f"{source}, line {line}: is not UTF-8 text; save it as UTF-8") from None


def parse(text: str, source: str) -> TrainingJob:
    """The one TrainingJob in `text`; `source` names it in messages.

    Raises:
        ManifestError: as `load` does.
    """
    return chosen(text, source).job


def chosen(text: str, source: str, name: str | None = None, settings: Sequence[str] = (), storage: Place | None = None) -> Bundle:
    """The TrainingJob in `text` that is called `name`, or the only one, and what belongs to it. As `bundle` otherwise."""
    found = _objects(text, source)
    jobs = [body for body in found if body.get("kind") == KIND] or (found if len(found) == 1 else [])
    body = _one(jobs, name, source, sum(1 for other in found if other.get("kind") != KIND))
    _check_kind(body, source)
    job = _valid(_placed(overridden(body, settings), storage), source if not settings else f"{source} with --set {' '.join(settings)}")
    kept, notes = [], []
    for other in found:
        kind, label = other.get("kind"), f"{other.get('kind', 'a document without a kind')} {_name(other)}".rstrip()
        if kind == KIND:
            continue
        if kind not in secrets.KINDS:
            notes.append(f"{source}: {label} is left out; on this machine a TrainingJob needs none")
        elif _namespace(other) != job.metadata.namespace:
            notes.append(f"{source}: {label} is left out; it is not in the job's namespace {job.metadata.namespace}")
        else:
            kept.append(secrets.checked(other, source))
    return Bundle(job, tuple(kept), tuple(notes))


def _placed(body: dict[str, Any], storage: Place | None) -> dict[str, Any]:
    """Return the manifest with a storage, if it names none and there is a place for it."""
    spec, name = body.get("spec"), _name(body)
    if storage is None or not name or not isinstance(spec, dict):
        return body
    checkpoint = spec.get("checkpoint") or {}
    if not isinstance(checkpoint, dict) or checkpoint.get("storage"):
        return body
    place = {"uri": storage(_namespace(body), name)}
    return {**body, "spec": {**spec, "checkpoint": {**checkpoint, "storage": place}}}


def _objects(text: str, source: str) -> list[dict[str, Any]]:
    """The documents, with the items of a List in its place."""
    found: list[Any] = []
    for document in documents(text, source):
        is_list = isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list)
        found.extend(document["items"] if is_list else [document])
    if not found:
        raise ManifestError(f"{source} is empty; docs/api.md says what a TrainingJob looks like")
    if not all(isinstance(body, dict) for body in found):
        raise ManifestError(f"{source} holds no map of fields; it should begin with apiVersion: {API_VERSION}")
    return found


def _one(jobs: list[dict[str, Any]], name: str | None, source: str, others: int) -> dict[str, Any]:
    names = ", ".join(_name(body) or "one without a name" for body in jobs)
    if not jobs:
        raise ManifestError(f"{source} holds {others} documents, and none is of kind {KIND}")
    if name is not None:
        jobs = [body for body in jobs if _name(body) == name]
        if not jobs:
            raise ManifestError(f"--name {name}: {source} holds no such TrainingJob; it holds: {names}")
    if len(jobs) > 1 and name is None:
        raise ManifestError(f"{source} holds {len(jobs)} TrainingJobs: {names}; choose one with --name")
    if len(jobs) > 1:
        raise ManifestError(f"{source} holds {len(jobs)} TrainingJobs of the name {name}; keep one of them")
    return jobs[0]


def _valid(body: dict[str, Any], source: str) -> TrainingJob:
    try:
        return TrainingJob.model_validate(body)
    except ValidationError as error:
        lines = explain(error, TrainingJob)
    raise ManifestError("\n".join([f"{source} cannot be used:", *(f"  {line}" for line in lines)]))


def _check_kind(body: dict[str, Any], source: str) -> None:
    for field, wanted in (("kind", KIND), ("apiVersion", API_VERSION)):
        if field not in body:
            raise ManifestError(f"{source}: {field} is missing; add {field}: {wanted}")
        if body[field] != wanted:
            raise ManifestError(f"{source}: {field} is {body[field]!r}; it must be {wanted}")


def _name(body: dict[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _namespace(body: dict[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("namespace") or "default") if isinstance(metadata, dict) else "default"
