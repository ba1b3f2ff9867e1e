"""Parameters that forward or the loss changes itself: momentum encoders, averaged weights, weights that are clipped or normalized."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.loss import LossSum
from unit.conformity.specimen import FEATURES, WORDS, Specimen, classify, head, read

WIDTH = 16


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), head(WIDTH))


class Twins(nn.Module):
    """A student, and a teacher that follows it: frozen parameters, moved through `data` as most public code does."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = small(), small().requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.data = slow.data * 0.9 + fast.data * 0.1
        return self.student(inputs), self.teacher(inputs)


class TwinsInPlace(Twins):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.data.mul_(0.9).add_(fast.data, alpha=0.1)
        return self.student(inputs), self.teacher(inputs)


class LateTwins(Twins):
    """The teacher moves from the second step on, and so does a factor that has no gradient before: that step is computed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(FEATURES))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.passes += 1
        return super().forward(inputs * self.factor) if self.passes > 1 else (self.student(inputs), self.teacher(inputs))


class Averaged(nn.Module):
    """torch's own averaged copy of a model; its parameters ask for gradients and get none."""

    def __init__(self) -> None:
        super().__init__()
        self.student = small()
        self.average = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.average.update_parameters(self.student)
        return self.student(inputs)


class Clipped(nn.Module):
    """Weights are kept in a box, as critics' are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()

    def forward(self, inputs: Tensor) -> Tensor:
        for parameter in self.body.parameters():
            parameter.data.mul_(0.98).clamp_(-0.2, 0.2)
        return self.body(inputs)


class Bounded(nn.Module):
    """Weights are written to in every pass, and none of them is ever out of its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, max_norm=100.0)
        self.out = head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            self.out.weight.clamp_(-50.0, 50.0)
        return self.out(self.words(tokens).mean(dim=1))


class Pinned(nn.Module):
    """One weight of many is set through `data`, which leaves no other trace."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()

    def forward(self, inputs: Tensor) -> Tensor:
        self.body[0].weight.data[0, 0] = 0.5
        return self.body(inputs)


class Drifting(nn.Module):
    """A codebook that is a frozen parameter and follows the samples: each worker's goes its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        self.code = nn.Parameter(torch.zeros(FEATURES), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            self.code.lerp_(inputs.mean(dim=0), 0.5)
        return self.body(inputs - self.code)


def follow(model: nn.Module, batch: Batch) -> LossSum:
    student, teacher = model(batch["inputs"])
    loss = functional.cross_entropy(student, batch["targets"], reduction="sum")
    return loss + functional.mse_loss(student, teacher, reduction="sum"), float(len(student))


SPECIMENS = (
    Specimen("teacher follows student", Twins, follow, deterministic=True),
    Specimen("teacher follows student in place", TwinsInPlace, follow, deterministic=True),
    Specimen("teacher follows student late", LateTwins, follow, brief=True),
    Specimen("averaged model", Averaged, deterministic=True),
    Specimen("codebook in a parameter", Drifting, late=True, refused="changes code, and not alike for all parts of a batch", workers=2),
    Specimen("weights clipped in forward", Clipped, classify, deterministic=True),
    Specimen("weights within their bounds", Bounded, read, deterministic=True),
    Specimen("one weight set in forward", Pinned, deterministic=True),
)
