"""The ControllerRevision that keeps what a life of a job was resolved to, so that every later operator makes the same pods of it. Pure.

Its name carries a hash of its data, and the status names it: what somebody else has put under the name is not taken for it.

    image, imageFrom (Spec or Default), build, contract, port
    config: the spec, as the workers are told it
    worker, rendezvous: pod templates, without what differs between two pods of one life
"""

from __future__ import annotations

import hashlib
import json

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.metadata import metadata
from trainingjob_operator.controllers.training_job.state import Pinned
from trainingjob_operator.engine.values import Manifest

KIND = "ControllerRevision"
_DIGITS = 20
"""Eighty bits: nobody finds other data of the same name."""
_NEEDED = {"image", "build", "port", "config", "worker", "rendezvous"}


def pinned(job: TrainingJob, data: Manifest) -> Pinned:
    """`data` as it is to be kept for the job."""
    text = _canonical(data)
    return Pinned(f"{names.base(job.metadata.name, job.metadata.uid)}-{_digest(text)}", text, data["port"])


def revision(job: TrainingJob, kept: Pinned) -> Manifest:
    """The record of `kept`, immutable by its kind."""
    return {
        "apiVersion": "apps/v1",
        "kind": KIND,
        "metadata": metadata(job, kept.name),
        "revision": 1,
        "data": kept.content(),
    }


def read(manifest: Manifest) -> Pinned | None:
    """What a ControllerRevision keeps; None if it is not what its name says, or an operator's that kept less."""
    name, data = manifest["metadata"]["name"], manifest.get("data")
    if not isinstance(data, dict) or not data.keys() >= _NEEDED or type(data["port"]) is not int:
        return None
    text = _canonical(data)
    return Pinned(name, text, data["port"]) if name.rpartition("-")[2] == _digest(text) else None


def _canonical(data: Manifest) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
