"""Losses and blocks whose gradients do not come once, in place, in one backward pass; and parameters that get none."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.loss import LossSum, cross_entropy_sum
from unit.conformity.specimen import FEATURES, Specimen, head

WIDTH = 16


class Reused(nn.Module):
    """One block three times, its activations computed again in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(FEATURES, WIDTH).double()  # of another type, so that the block's gradients are reduced apart from it
        self.block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.head = head(WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.first(inputs.double()).float()
        for _ in range(3):
            found = checkpoint(self.block, found, use_reentrant=self.reentrant)
        return self.head(found)


class UnusedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, WIDTH)
        self.head = head(WIDTH)
        self.unused = head(WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).relu())


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), head(WIDTH))


def adversarial(model: nn.Module, batch: Batch) -> LossSum:
    """The sample is moved up the loss by a backward pass of its own."""
    inputs = batch["inputs"].clone().requires_grad_()
    cost, _ = cross_entropy_sum(model(inputs), batch["targets"])
    cost.backward()
    assert inputs.grad is not None
    model.zero_grad()
    return cross_entropy_sum(model((inputs + 0.1 * inputs.grad.sign()).detach()), batch["targets"])


SPECIMENS = (
    Specimen("block reused, reentrant checkpoints", lambda: Reused(reentrant=True), deterministic=True),
    Specimen("block reused, checkpoints", lambda: Reused(reentrant=False)),
    Specimen("unused head", UnusedHead, deterministic=True),
    Specimen("adversarial loss", small, adversarial, deterministic=True),
    Specimen("adversarial loss in micro-batches", small, adversarial, training={"microBatchSize": 3}),
)
