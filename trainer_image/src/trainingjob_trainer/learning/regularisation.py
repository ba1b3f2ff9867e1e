"""What keeps weights and gradients small: which parameters are penalised, L1, clipping. Changes gradients in place, nothing else.

Weight decay is the optimiser's (see optimizer). Biases and the layers that normalise are never penalised: pulling them
to zero does not make a model simpler.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def penalised(model: nn.Module) -> list[nn.Parameter]:
    """The trainable weights that decay and L1 apply to, in model order: no biases, no norm layers, nothing of fewer than two dimensions."""
    exempt = {id(parameter) for module in model.modules() if isinstance(module, _NORMS) for parameter in module.parameters(recurse=False)}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and _is_weight(parameter) and id(parameter) not in exempt and not name.endswith("bias")
    ]


@torch.no_grad()
def add_l1_(parameters: Iterable[Tensor], l1: float) -> None:
    """Add the gradient of l1 * sum(|w|) to the gradients, after they were divided by the global weight.

    Give it `penalised(model)`. Tensors of fewer than two dimensions (biases, norms) and those without a gradient are left as they are.
    """
    if l1 == 0:
        return
    for parameter in parameters:
        if parameter.grad is not None and _is_weight(parameter):
            parameter.grad.add_(parameter.sgn(), alpha=l1)


def clip_(parameters: Iterable[Tensor], norm: float) -> Tensor:
    """Scale all gradients by one factor so that their common L2 norm is at most `norm`.

    Returns:
        The norm before the clipping: a scalar tensor, not finite if a gradient is not.
    """
    return torch.nn.utils.clip_grad_norm_(parameters, norm)


def _is_weight(parameter: Tensor) -> bool:
    return parameter.dim() > 1
