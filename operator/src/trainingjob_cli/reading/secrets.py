"""Secrets and ConfigMaps that stand in one file with a TrainingJob. Pure. No message has a value in it."""

from __future__ import annotations

import binascii
from typing import Any

from trainingjob_cli.reading.documents import ManifestError
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.given import from_base64

KINDS = ("Secret", "ConfigMap")


def checked(body: Manifest, source: str) -> Manifest:
    """Return the Secret or ConfigMap `body` if the API server would take it.

    Raises:
        ManifestError: it would not; the message names the key.
    """
    kind, name = body["kind"], body.get("metadata", {}).get("name")
    if not isinstance(name, str) or not name:
        raise ManifestError(f"{source}: a {kind} has no metadata.name; add it")
    for part in ("data", "stringData") if kind == "Secret" else ("data",):
        values = body.get(part) or {}
        if not isinstance(values, dict):
            raise ManifestError(f"{source}: {kind} {name}: {part} is no map; write KEY: value below it")
        for key, value in values.items():
            if not isinstance(value, str):
                raise ManifestError(f"{source}: {kind} {name}: {part}.{key} is no text; put it in quotes")
            if kind == "Secret" and part == "data" and not _is_base64(value):
                raise ManifestError(f"{source}: {kind} {name}: data.{key} is no base64; write it below stringData as it is")
    return {part: body[part] for part in ("apiVersion", "kind", "metadata", "data", "stringData") if body.get(part) is not None}


def _is_base64(value: Any) -> bool:
    try:
        from_base64(value)
    except (binascii.Error, ValueError):
        return False
    return True
