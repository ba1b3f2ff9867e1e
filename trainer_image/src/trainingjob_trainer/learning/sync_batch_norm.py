"""torch.nn.SyncBatchNorm on CPUs: torch's own synchronises GPUs alone, and refuses anything else. Effects: replaces its forward method.

The statistics are those of all ranks' samples, and so are the gradients: the result is that of one process that normalizes the whole
batch, whatever the sizes of the shares.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_torchs_forward = nn.SyncBatchNorm.forward


def synchronise_on_cpus() -> None:
    """From now on SyncBatchNorm layers take tensors on CPUs, too."""
    nn.SyncBatchNorm.forward = _forward  # type: ignore[assignment,method-assign]


def _forward(self: nn.SyncBatchNorm, inputs: Tensor) -> Tensor:
    """See torch.nn.SyncBatchNorm.forward."""
    if inputs.device.type != "cpu" or not self.training or not dist.is_initialized():
        return _torchs_forward(self, inputs)
    self._check_input_dim(inputs)
    self._check_non_zero_input_channels(inputs)
    factor = _count_batch(self)
    group = self.process_group or dist.group.WORLD
    mean, variance = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
    if dist.get_world_size(group) == 1:
        return functional.batch_norm(inputs, mean, variance, self.weight, self.bias, True, factor, self.eps)
    return _Normalise.apply(inputs, self.weight, self.bias, mean, variance, self.eps, factor, group)  # type: ignore[no-any-return,no-untyped-call]


def _count_batch(layer: nn.SyncBatchNorm) -> float:
    """Count the batch. Return the weight of its statistics in the running ones."""
    if layer.track_running_stats and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        if layer.momentum is None:
            return 1.0 / float(layer.num_batches_tracked)
    return layer.momentum or 0.0


class _Normalise(torch.autograd.Function):
    """(inputs - mean) / deviation * weight + bias, with the mean and the deviation of all ranks' inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        factor: float,
        group: Any,
    ) -> Tensor:
        count, mean, variance = _statistics(inputs, group)
        if count <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {tuple(inputs.shape)} and no more elsewhere"
            )
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), factor)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), factor)
        scale = (variance + eps).rsqrt()
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        mean, scale = mean.to(inputs).view(shape), scale.to(inputs).view(shape)
        ctx.save_for_backward(inputs, weight, mean, scale)
        ctx.count, ctx.group, ctx.has_bias = count, group, bias is not None
        outputs = (inputs - mean) * scale
        if weight is not None:
            outputs = outputs * weight.view(shape)
        return outputs if bias is None else outputs + bias.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, scale = ctx.saved_tensors
        over = [0, *range(2, inputs.dim())]
        normal = (inputs - mean) * scale
        own = torch.stack([gradient.sum(over), (gradient * normal).sum(over)])
        inner = None
        if ctx.needs_input_grad[0]:
            total = own.double()
            dist.all_reduce(total, group=ctx.group)
            first, second = (total / ctx.count).to(inputs).view(2, *mean.shape)
            inner = (gradient - first - normal * second) * scale
            if weight is not None:
                inner = inner * weight.view(mean.shape)
        return inner, None if weight is None else own[1], own[0] if ctx.has_bias else None, None, None, None, None, None


def _statistics(inputs: Tensor, group: Any) -> tuple[float, Tensor, Tensor]:
    """(elements a channel, mean, variance) of all ranks' inputs; the latter float64, one element a channel."""
    over = [0, *range(2, inputs.dim())]
    count, channels = inputs.numel() // inputs.shape[1], inputs.shape[1]
    row = torch.zeros(1 + 2 * channels, dtype=torch.float64)
    if count:
        variance, mean = torch.var_mean(inputs.detach(), over, correction=0)
        row = torch.cat([torch.tensor([float(count)], dtype=torch.float64), mean.double(), variance.double()])
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, row, group=group)
    counts, means, variances = torch.split(torch.stack(rows), [1, channels, channels], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return float(total), mean, variance
