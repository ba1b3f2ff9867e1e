"""What becomes of the buffers that a model's forward pass changes: the policies, and the defaults. Pure.

Every worker's forward pass sees other samples, so every worker's copy of such a buffer changes in another way. What all
workers go on with depends on what the buffer means, and for most nobody but the user knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm


class Policy(Enum):
    """What all workers go on with after a step that changed a buffer."""

    MEAN = "Mean"
    """The mean of all workers' changes, weighted by the loss' weight. Right for running averages over samples."""
    RANK0 = "Rank0"
    """The first worker's buffer, as DistributedDataParallel does it. Right for what every worker computes alike, and for queues."""
    PER_RANK = "PerRank"
    """Each worker its own. It is no part of checkpoints: a new or restarted worker begins with what `model` makes."""
    KEEP = "Keep"
    """The buffer as it was before the step: a constant, or a cache that may be computed anew."""


Mean, Rank0, PerRank, Keep = Policy.MEAN, Policy.RANK0, Policy.PER_RANK, Policy.KEEP

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_OUTSIDE_STATE = (Policy.PER_RANK, Policy.KEEP)


def persistent_buffers(model: nn.Module) -> frozenset[str]:
    """The names of the buffers that `state_dict` has, each once."""
    known = {id(value) for value in model.state_dict(keep_vars=True).values() if isinstance(value, Tensor)}
    return frozenset(name for name, buffer in model.named_buffers() if id(buffer) in known)


def buffer_policies(model: nn.Module, declared: Mapping[str, Policy]) -> dict[str, Policy | None]:
    """The policy of each buffer, in model order; None where nothing is declared or known.

    Args:
        model: as the task makes it.
        declared: `Task.buffers()`. A key matches the whole dotted name, or its end after a dot; `*` and `?` stand for any
            characters. The first key that matches counts.

    Raises:
        ValueError: a key matches no buffer, a value is no policy, or a policy does not fit the buffer.
    """
    names = [name for name, _ in model.named_buffers()]
    _check_declared(declared, names)
    persistent = persistent_buffers(model)
    found: dict[str, Policy | None] = {}
    for name in names:
        policy = next((policy for key, policy in declared.items() if _matches(name, key)), None)
        if policy is None:
            policy = _default(model, name)
        elif name not in persistent and policy not in _OUTSIDE_STATE:
            raise ValueError(
                f"spec.training.task.class: Task.buffers() says {policy.value} for {name!r}, which is registered with persistent=False:"
                " a new worker could not be given it; register it as persistent, or say PerRank or Keep"
            )
        found[name] = policy
    return found


def _check_declared(declared: Mapping[str, Policy], names: list[str]) -> None:
    for key, policy in declared.items():
        if not isinstance(policy, Policy):
            raise ValueError(
                f"spec.training.task.class: Task.buffers() says {policy!r} for {key!r}; say Mean, Rank0, PerRank or Keep of"
                " trainingjob_trainer.learning.buffers"
            )
        if not any(_matches(name, key) for name in names):
            raise ValueError(
                f"spec.training.task.class: Task.buffers() names {key!r}, and the model has no such buffer; it has"
                f" {', '.join(names[:20]) or 'none'}"
            )


def _matches(name: str, key: str) -> bool:
    return fnmatchcase(name, key) or fnmatchcase(name, f"*.{key}")


def _default(model: nn.Module, name: str) -> Policy | None:
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, (_BatchNorm, _InstanceNorm)) and key in _STATISTICS:
        return Policy.MEAN
    if isinstance(module, _SpectralNorm) and key in ("_u", "_v"):
        return Policy.RANK0
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]
    if any(key in (f"{hook.name}_u", f"{hook.name}_v") for hook in hooks):
        return Policy.RANK0
    return None
