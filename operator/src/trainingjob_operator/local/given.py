"""The Secrets and ConfigMaps that came in one file with a local job: what the cluster's would be to its pods.

Effects: one file in the job's folder, readable by its owner alone. It must not print what is in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence

from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.folder import JobFolder, locked

_FILE = "given.json"


def keep(folder: JobFolder, manifests: Iterable[Manifest]) -> None:
    """Keep the objects for the job, each in place of the one of its kind and name. Others stay, as they do in a cluster."""
    with locked(folder):
        known = {_key(manifest): manifest for manifest in read(folder)}
        wanted = known | {_key(manifest): manifest for manifest in manifests}
        if wanted != known:
            folder.write(folder.path / _FILE, json.dumps(list(wanted.values())))


def read(folder: JobFolder) -> tuple[Manifest, ...]:
    """Return the job's objects; none where none was given."""
    try:
        return tuple(json.loads((folder.path / _FILE).read_text()))
    except FileNotFoundError:
        return ()


def values(manifests: Sequence[Manifest], kind: str, name: str) -> dict[str, str] | None:
    """Return what the object holds, as pods get it; None if it is not among `manifests`. Pure."""
    found = given(manifests, kind, name)
    return None if found is None else decoded(found)


def given(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest | None:
    """Return the object of that kind and name; None if it is not among `manifests`. Pure."""
    return next((manifest for manifest in manifests if _key(manifest) == (kind, name)), None)


def decoded(manifest: Manifest) -> dict[str, str]:
    """Return what a Secret or a ConfigMap holds. Bytes that are no text are left out: no variable can hold them. Pure."""
    data = manifest.get("data") or {}
    if manifest.get("kind") != "ConfigMap":
        data = {key: text for key, value in data.items() if (text := _text(from_base64(value))) is not None}
    return {**data, **(manifest.get("stringData") or {})}


def from_base64(value: str) -> bytes:
    """Return the bytes of a Secret's value. It may be broken into lines, as the API server allows. Pure.

    Raises:
        ValueError: it is no base64.
    """
    return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]
