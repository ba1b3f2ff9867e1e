"""Whether checkpoints and the export can hold a model: known before its first step, not after its last. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainingjob_api.storage.manifest import MAX_DIMENSIONS, MAX_NAME
from trainingjob_trainer.checkpoint.flat import DTYPES
from trainingjob_trainer.checks.mistakes import UserMistake

_FIELD = "spec.training.task.class"
_EXTRA = "_extra_state"
_PREFIX, _SUFFIX = "optimizer/", "/momentum_buffer"
"""The longest that is put before and behind a parameter's name."""


def check_storable(model: nn.Module) -> None:
    """Check that everything in the model's state can be saved and restored.

    Raises:
        UserMistake: the message names the part and the fix.
    """
    for name, value in model.state_dict(keep_vars=True).items():
        _check_entry(name, value)
    for name, tensor in _saved(model):
        if reason := _obstacle(name, tensor):
            raise UserMistake(f"{_FIELD}: the model's {name} {reason}")


def _check_entry(name: str, value: object) -> None:
    if name.rpartition(".")[2] == _EXTRA:
        raise UserMistake(
            f"{_FIELD}: the model's state has {name!r} (get_extra_state), which is no parameter or buffer, and a checkpoint would lose it;"
            " keep it in a buffer (register_buffer), or use the layer without it"
        )
    if not isinstance(value, Tensor):
        raise UserMistake(
            f"{_FIELD}: the model's state has {name!r}, a {type(value).__name__}, which cannot be saved;"
            " let state_dict() hold tensors alone"
        )


def _saved(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers."""
    kept = {id(value) for value in model.state_dict(keep_vars=True).values()}
    yield from model.named_parameters()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if id(buffer) in kept)


def _obstacle(name: str, tensor: Tensor) -> str:
    """Why the tensor cannot be saved, and what to do; nothing if it can."""
    if is_lazy(tensor):
        return "has no shape yet: it belongs to a lazy layer; give the layer its sizes, or run one batch through the model in model()"
    if tensor.layout is not torch.strided:
        return f"is sparse ({tensor.layout}), which cannot be saved; make it dense, or register it with persistent=False"
    if tensor.dtype not in DTYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        return f"is of type {str(tensor.dtype).removeprefix('torch.')}, which cannot be saved; use one of {known}"
    if tensor.dim() > MAX_DIMENSIONS:
        return f"has {tensor.dim()} dimensions, and at most {MAX_DIMENSIONS} can be saved; reshape it"
    if len(_PREFIX) + len(name) + len(_SUFFIX) > MAX_NAME:
        return f"has a name of {len(name)} characters, which is too long to be saved; shorten the names of the modules around it"
    return ""
