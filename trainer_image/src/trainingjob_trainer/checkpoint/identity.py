"""What the steps of a checkpoint were made of: how much data, in which batches, by which task and parameters. Pure.

The number of a step means something only together with these: with other data or another batch, step 76 is another place in another
epoch. So they are kept beside the tensors, and compared when a checkpoint is restored, and among the workers of a generation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from trainingjob_api.storage.manifest import Position

KEY = "identity"
"""The entry of Position.extra that holds it."""
LONGEST = 120
"""A parameter whose JSON is longer is kept as its fingerprint."""
MOST_TOLD = 3
Identity = dict[str, Any]
"""Name, as a person knows it -> number, or JSON, or fingerprint."""


def identity(task: str, parameters: Mapping[str, object], samples: tuple[int, int, int], batch: int, seed: int) -> Identity:
    """Return what is kept.

    Args:
        task: module:Class.
        parameters: of the task, with defaults, as JSON has them.
        samples: of training, validation and test.
        batch: the global batch size.
        seed: the job's.
    """
    training, validation, test = samples
    kept: Identity = {
        "training samples": training,
        "validation samples": validation,
        "test samples": test,
        "spec.training.globalBatchSize": batch,
        "spec.training.seed": seed,
        "spec.training.task.class": task,
    }
    return kept | {f"spec.training.task.parameters.{name}": _brief(value) for name, value in sorted(parameters.items())}


def as_json(parameters: BaseModel, told: Mapping[str, object]) -> Mapping[str, object]:
    """Return a task's parameters, with defaults, as JSON has them; the same in every process.

    Args:
        parameters: of the task; a set among them is sorted, for its own order is another one in every process.
        told: those of the manifest, returned if JSON cannot express `parameters`.
    """
    try:
        dumped = json.loads(parameters.model_dump_json())
    except PydanticSerializationError:
        return told
    ordered: Mapping[str, object] = _ordered(parameters, dumped)
    return ordered


def changes(position: Position, now: Identity) -> str:
    """Return what differs from what the checkpoint at `position` was made of, for a person; "" if nothing does.

    What one of both does not know is no difference: an older release kept less, a newer task may have more parameters.
    """
    before = position.extra.get(KEY)
    if not isinstance(before, dict):
        return ""
    found = [_change(name, before[name], now[name]) for name in now if name in before and before[name] != now[name]]
    more = f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    return ", ".join(found[:MOST_TOLD]) + more


def fingerprint(position: Position) -> bytes:
    """Return 16 bytes that are the same where the identity in `position` is: the number of training samples, and a hash of all."""
    kept = position.extra.get(KEY)
    kept = kept if isinstance(kept, dict) else {}
    samples = kept.get("training samples")
    count = samples if isinstance(samples, int) and 0 <= samples < 1 << 63 else 0
    return count.to_bytes(8, "big") + hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).digest()


def samples_of(fingerprint: bytes) -> int:
    """Return the number of training samples in a fingerprint."""
    return int.from_bytes(fingerprint[:8], "big")


def _ordered(value: object, dumped: Any) -> Any:
    """Return `dumped`, the JSON of `value`, with every set in it sorted."""
    if isinstance(dumped, dict):
        inner = value if isinstance(value, Mapping) else None
        values = inner.values() if inner is not None and len(inner) == len(dumped) else [getattr(value, name, None) for name in dumped]
        return {name: _ordered(each, part) for (name, part), each in zip(dumped.items(), values, strict=True)}
    if not isinstance(dumped, list) or not isinstance(value, list | tuple | set | frozenset) or len(value) != len(dumped):
        return dumped
    parts = [_ordered(each, part) for each, part in zip(value, dumped, strict=True)]
    return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True)) if isinstance(value, set | frozenset) else parts


def _change(name: str, before: object, now: object) -> str:
    words = f"{before} {name}" if name.endswith(" samples") else f"{name} {before}"
    return f"{words}, now {now}"


def _brief(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= LONGEST else f"fingerprint {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
