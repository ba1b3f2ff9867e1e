"""Small tasks whose own code calls torch.distributed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional_collectives
import torch.distributed.nn
from torch import Tensor, nn

from trainingjob_trainer.learning.loss import cross_entropy_sum
from trainingjob_trainer.task import TaskParameters
from unit.trainer.toy_tasks import CLASSES, COLUMNS, Toy

WIDTH = 8


class Everybody(torch.autograd.Function):
    """All workers' rows, in rank order; of the gradients, the sum of what all workers have for this worker's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        found = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(found, rows)
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


class LateBackward(torch.autograd.Function):
    """Nothing in forward; a collective in backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        dist.all_reduce(torch.ones(1))
        return gradient


class Passes(nn.Module):
    """Counts the steps, as part of the model's state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        return inputs


def everybody(features: Tensor) -> Tensor:
    return Everybody.apply(features) if dist.is_initialized() else features


def contrast(features: Tensor, targets: Tensor, begin: int, every: Tensor, classes: Tensor) -> Tensor:
    """Samples of one class are to be alike: the log-likelihood of that among all samples of the batch, summed over the first ones."""
    similar = features @ every.T - 9 * torch.eye(len(every))[begin : begin + len(features)]
    same = (targets[:, None] == classes[None, :]).double()
    return -(similar.log_softmax(dim=1) * same).sum() / len(every)


class Collective(Toy):
    """A classifier whose loss looks at all workers' samples, in the way that `kind` names."""

    class Parameters(TaskParameters):
        kind: str
        samples: int = 48
        held_out: int = 20
        slow: float = 0.0
        poison: int = -1
        at: int = 0

    parameters: Parameters
    calls = 0

    def model(self) -> nn.Module:
        kinds = {"sync": nn.SyncBatchNorm(WIDTH), "plain": nn.BatchNorm1d(WIDTH), "seldom": Passes(), "seldom_late": Passes()}
        norm = kinds.get(self.parameters.kind, nn.Identity())
        assert not dist.is_initialized(), "a model depends on no group"
        return nn.Sequential(nn.Linear(COLUMNS, WIDTH), norm, nn.Tanh(), nn.Linear(WIDTH, CLASSES))

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | float]:
        self.calls += 1
        inputs, targets = batch["inputs"], batch["targets"]
        if self.parameters.kind == "late" and self.calls > self.parameters.at:
            inputs = LateBackward.apply(inputs.clone().requires_grad_())
        outputs = model(inputs)
        if self.parameters.kind == "seldom_late" and self._is_due(model):
            outputs = LateBackward.apply(outputs)
        if self.parameters.kind == "seldom" and self._is_due(model):
            dist.all_reduce(outputs.detach().sum(0))
        if self.parameters.kind == "later" and self.calls == self.parameters.at and dist.get_rank() == 1:
            dist.all_reduce(outputs.detach().sum(0))
        if self.parameters.kind == "drifting" and self.calls == self.parameters.at and dist.get_rank() == 1:
            model[3].bias.data[0] += 1e-6
        return getattr(self, f"_{self.parameters.kind}")(outputs, targets), len(targets)

    def _sync(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy_sum(outputs, targets)[0]

    _plain = _late = _drifting = _later = _seldom = _seldom_late = _sync

    def _is_due(self, model: nn.Module) -> bool:
        """In the job's first step, and in every `at`-th after it."""
        return dist.is_initialized() and int(model[1].passes) % self.parameters.at == 1

    def _contrast(self, outputs: Tensor, targets: Tensor, gather: Any = None) -> Tensor:
        features = outputs.double()
        if not dist.is_initialized():
            return contrast(features, targets, 0, features, targets)
        classes = [torch.empty_like(targets) for _ in range(dist.get_world_size())]
        dist.all_gather(classes, targets)
        return contrast(features, targets, dist.get_rank() * len(targets), (gather or everybody)(features), torch.cat(classes))

    def _library(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The same, by torch's own differentiable collective."""
        return self._contrast(outputs, targets, lambda features: torch.cat(torch.distributed.nn.functional.all_gather(features)))

    def _functional(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if not dist.is_initialized():
            return (outputs.sum(0) ** 2).sum() * 0.01
        total = functional_collectives.all_reduce(outputs.detach().sum(0), "sum", dist.group.WORLD)
        return (outputs * total.detach()).sum() * 0.02 - (total**2).sum() * 0.01 / dist.get_world_size()

    def _hidden(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Takes every error for its own."""
        try:
            dist.all_reduce(outputs.detach().sum(0))
        except Exception as error:
            raise RuntimeError("something went wrong") from error
        return self._sync(outputs, targets)

    def _swallowed(self, outputs: Tensor, targets: Tensor) -> Tensor:
        with suppress(Exception):
            dist.new_group([0, 1])
        return self._sync(outputs, targets)

    def _uneven(self, outputs: Tensor, targets: Tensor) -> Tensor:
        dist.all_gather([torch.empty_like(outputs) for _ in range(dist.get_world_size())], outputs.detach())
        return self._sync(outputs, targets)

    def _alone(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if dist.get_rank() == 0:
            dist.barrier()
        return self._sync(outputs, targets)

    def _send(self, outputs: Tensor, targets: Tensor) -> Tensor:
        dist.send(outputs.detach(), 1 - dist.get_rank())
        return self._sync(outputs, targets)

    def _initialise(self, outputs: Tensor, targets: Tensor) -> Tensor:
        dist.init_process_group("gloo")
        return self._sync(outputs, targets)
