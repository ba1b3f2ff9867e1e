"""The names of everything in a job's storage, and how to read them back. Pure.

Keys are relative to the job's prefix. Numbers are padded so that a listing in the order of names is in the order of numbers. A name that
does not parse belongs to somebody else: it is left alone, never guessed at.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from trainingjob_api.contract.messages import GenerationId, MemberId, SaveId

LOG_PREFIX = "log/"
SAVES_PREFIX = "saves/"
RUNS_PREFIX = "runs/"
EXPORT_PREFIX = "export/"
PROBE_PREFIX = "probe/"

_LOG = re.compile(r"log/(\d{8,12})\.json")
_LABEL = re.compile(r"(\d{8,15})-([a-z0-9]{1,64})")
_SAVE = re.compile(r"saves/([^/]+)/([^/]+)")
_SHARD = re.compile(r"(\d{5,9})\.safetensors")
_EXPORT = re.compile(r"export/([^/]+)/[^/]+")
_PROBE = re.compile(r"probe/([^/]+)")
_RUN = re.compile(r"runs/(\d{1,9})/(\d{1,9})/(\d{1,9})\.(\d{1,9})\.log")
_NONCE = re.compile(r"a(\d{1,15})e(\d{1,15})n(\d{1,15})")


class Label(NamedTuple):
    """Names one save, or one export: its step, and a nonce that tells it from others of the same step."""

    step: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.step:08d}-{self.nonce}"

    @classmethod
    def of(cls, save: SaveId) -> Self:
        """The label of the save that a generation makes at a step."""
        return cls(save.step, save.nonce())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The label that `str` wrote, or None."""
        found = _LABEL.fullmatch(text)
        label = cls(int(found[1]), found[2]) if found else None
        return label if label is not None and str(label) == text else None

    def generation(self) -> GenerationId | None:
        """The generation that made the save, or None if the nonce is not a generation's label."""
        return _generation(self.nonce)


def _generation(text: str) -> GenerationId | None:
    found = _NONCE.fullmatch(text)
    return GenerationId(int(found[1]), int(found[2]), int(found[3])) if found else None


def log_key(seq: int) -> str:
    """Where entry `seq` of the log lies."""
    return f"{LOG_PREFIX}{seq:08d}.json"


def parse_log_key(key: str) -> int | None:
    """The number of the entry that lies at `key`, or None."""
    found = _LOG.fullmatch(key)
    return int(found[1]) if found and log_key(int(found[1])) == key else None


def shard_name(rank: int) -> str:
    """The file that rank `rank` writes into a save."""
    return f"{rank:05d}.safetensors"


def parse_shard_name(name: str) -> int | None:
    """The rank that wrote the file `name`, or None."""
    found = _SHARD.fullmatch(name)
    return int(found[1]) if found and shard_name(int(found[1])) == name else None


def save_prefix(label: Label) -> str:
    """The folder of a save, with the slash at its end."""
    return f"{SAVES_PREFIX}{label}/"


def shard_key(label: Label, name: str) -> str:
    """Where the shard `name` of a save lies."""
    return save_prefix(label) + name


def manifest_key(label: Label) -> str:
    """Where the manifest of a save lies."""
    return save_prefix(label) + "manifest.json"


def parse_save_key(key: str) -> tuple[Label, str] | None:
    """The save that an object belongs to and its name in there, or None."""
    found = _SAVE.fullmatch(key)
    label = Label.parse(found[1]) if found else None
    return (label, found[2]) if found and label else None


def run_log_key(member: MemberId) -> str:
    """Where the output of one life of a training process lies."""
    return f"{RUNS_PREFIX}{member.worker}/{member.incarnation}/{member.process}.{member.life}.log"


def parse_run_log_key(key: str) -> MemberId | None:
    """The life whose output lies at `key`, or None."""
    found = _RUN.fullmatch(key)
    return MemberId(int(found[1]), int(found[2]), int(found[3]), int(found[4])) if found else None


def export_prefix(label: Label) -> str:
    """The folder of an exported model, with the slash at its end."""
    return f"{EXPORT_PREFIX}{label}/"


def export_keys(label: Label) -> tuple[str, str]:
    """Where an exported model's weights and its description lie."""
    return export_prefix(label) + "model.safetensors", export_prefix(label) + "model.json"


def parse_export_key(key: str) -> Label | None:
    """The export that the object at `key` belongs to, or None."""
    found = _EXPORT.fullmatch(key)
    label = Label.parse(found[1]) if found else None
    return label if label is not None and key in export_keys(label) else None


def is_a_jobs(key: str) -> bool:
    """Return whether a job gave the object at `key` its name. Only such an object may be deleted with a job's storage."""
    member, save, probe = parse_run_log_key(key), parse_save_key(key), _PROBE.fullmatch(key)
    return (
        parse_log_key(key) is not None
        or (save is not None and (key == manifest_key(save[0]) or parse_shard_name(save[1]) is not None))
        or (member is not None and key == run_log_key(member))
        or parse_export_key(key) is not None
        or (probe is not None and _generation(probe[1]) is not None)
    )
