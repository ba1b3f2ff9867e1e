"""The finished model as two files: model.safetensors and model.json. Makes their content; writing them is the agent's business.

No pickle: the weights are safetensors, the rest is JSON, and `predict` needs nothing else but the task's class.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save
from torch import Tensor, nn

FORMAT = "trainingjob-model/1"
MODEL_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"


class ModelCard(BaseModel):
    """What model.json holds. Unknown fields are ignored: a newer trainer may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    format: str = FORMAT
    task: str
    """The task's class as module:Class."""
    parameters: dict[str, Any] = {}
    """What the task was made with."""
    metrics: dict[str, float] = {}
    """On the test data; those that are no finite numbers are left out, since JSON has none."""
    step: int = 0
    """Optimiser steps taken."""
    job: str = ""
    """namespace/name of the job."""
    build: str = ""
    """Of the trainer."""
    torch: str = ""
    """torch's version."""
    sha256: str | None = None
    """Of model.safetensors, lower-case hexadecimal."""


def export_model(
    model: nn.Module,
    task_class: str,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
    step: int,
    *,
    job: str = "",
    build: str = "",
) -> tuple[bytes, str]:
    """The content of model.safetensors, and of model.json.

    Raises:
        ValueError: when the model's state holds something that is no tensor.
    """
    # One metadata entry: safetensors writes several in a random order, and equal models are to have equal files.
    weights = save(export_tensors(model), metadata={"format": "pt"})
    card = ModelCard(
        task=task_class,
        parameters=dict(parameters),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        step=step,
        job=job,
        build=build,
        torch=torch.__version__,
        sha256=hashlib.sha256(weights).hexdigest(),
    )
    return weights, json.dumps(card.model_dump(), indent=2, allow_nan=False) + "\n"


def export_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's state, on the CPU, each tensor with memory of its own: safetensors takes no tied weights, so they are written twice."""
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(f"spec.training.task.class: the model's state has {name!r}, which is no tensor and cannot be exported")
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in taken or tensor.untyped_storage().nbytes() != tensor.nbytes else tensor
        taken.add(place)
    return tensors
