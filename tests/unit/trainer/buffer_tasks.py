"""Small tasks whose models have buffers of many kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainingjob_trainer.learning.buffers import Keep, Mean, PerRank, Policy, Rank0
from trainingjob_trainer.learning.loss import cross_entropy_sum
from trainingjob_trainer.task import TaskParameters
from unit.trainer.toy_tasks import CLASSES, COLUMNS, Toy

WIDTH = 8
POLICIES = {"Mean": Mean, "Rank0": Rank0, "PerRank": PerRank, "Keep": Keep}


class Network(nn.Module):
    """Two layers, and whatever a subclass does to the hidden features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(COLUMNS, WIDTH)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.hidden(self.first(inputs)))

    def hidden(self, features: Tensor) -> Tensor:
        return features


class Masked(Network):
    """A causal mask of -inf, and one buffer of NaN that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((WIDTH, WIDTH), float("-inf")).triu(1))
        self.register_buffer("nothing", torch.full((3,), float("nan")))

    def hidden(self, features: Tensor) -> Tensor:
        return features @ self.mask.softmax(dim=1)


class Queue(Network):
    """The last features, normalised: each forward pass overwrites some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", functional.normalize(torch.randn(16, WIDTH), dim=1))
        self.register_buffer("place", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor) -> None:
        begin, rows = int(self.place), min(4, len(features))  # as many at each worker
        self.queue[begin : begin + rows] = functional.normalize(features[:rows], dim=1)
        self.place[0] = (begin + rows) % 16

    def hidden(self, features: Tensor) -> Tensor:
        similar = features @ self.queue.clone().T
        if self.training:
            self.push(features)
        return features + similar.softmax(dim=1) @ self.queue.clone()


class Counted(Network):
    """Counts its forward passes, in a way that `counting` says."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def hidden(self, features: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        return features


class CountsSamples(Counted):
    """A counter that workers with shares of other sizes make differ."""

    def hidden(self, features: Tensor) -> Tensor:
        if self.training:
            self.passes += len(features)
        return features


class Average(Network):
    """A running mean that is replaced by a new tensor at each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(WIDTH))

    def hidden(self, features: Tensor) -> Tensor:
        if self.training:
            self.center = 0.9 * self.center + 0.1 * features.mean(dim=0)
        return features - self.center.detach()


class ByData(Average):
    """The same, by way of .data, which autograd's version counter does not see."""

    def hidden(self, features: Tensor) -> Tensor:
        if self.training:
            self.center.data.mul_(0.9).add_(features.detach().mean(dim=0), alpha=0.1)
        return features - self.center


class Cached(Network):
    """A cache that is no part of the state, and grows with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, WIDTH), persistent=False)

    def hidden(self, features: Tensor) -> Tensor:
        self.cache = features.detach()[:1] * 0 + 1
        return features * self.cache


class Growing(Network):
    """Puts a larger tensor in a buffer's place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0, WIDTH))

    def hidden(self, features: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, features.detach()])
        return features


class Late(Network):
    """Registers a buffer at its first forward pass."""

    def hidden(self, features: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(WIDTH))
        return features


class LateCache(Network):
    """Registers a cache at its first forward pass."""

    def hidden(self, features: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.ones(WIDTH), persistent=False)
        return features * self.late


class Spectral(Network):
    """Spectral normalisation, by the parametrization and by the older hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.spectral_norm(self.first)
        self.last = nn.utils.spectral_norm(self.last)


class Measuring(Network):
    """Changes a buffer when it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def hidden(self, features: Tensor) -> Tensor:
        if not self.training:
            self.calls += len(features)
        return features


class Merging(Network):
    """Scales a weight for evaluation and back for training, as code does that merges adapters; rounding leaves something over."""

    scaled = False

    def train(self, mode: bool = True) -> Merging:
        if self.scaled == mode:
            self.first.weight.data.mul_(1 / 3 if mode else 3)
            self.scaled = not mode
        return super().train(mode)


class Following(Counted):
    """Counts its forward passes; a frozen copy of a weight follows it in each."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Parameter(self.first.weight.detach().clone(), requires_grad=False)

    def hidden(self, features: Tensor) -> Tensor:
        if self.training:
            self.slow.data.lerp_(self.first.weight.data, 0.1)
        return super().hidden(features)


MODELS = {
    model.__name__: model
    for model in (
        Network,
        Merging,
        Masked,
        Queue,
        Counted,
        CountsSamples,
        Average,
        ByData,
        Cached,
        Growing,
        Late,
        LateCache,
        Spectral,
        Measuring,
        Following,
    )
}


class Buffered(Toy):
    """A classifier with one of the models above."""

    class Parameters(TaskParameters):
        kind: str
        policies: tuple[str, ...] = ()
        """name=policy."""
        samples: int = 60
        held_out: int = 20
        slow: float = 0.0
        poison: int = -1

    def model(self) -> nn.Module:
        return MODELS[self.parameters.kind]()

    def buffers(self) -> Mapping[str, Policy]:
        pairs = [each.split("=") for each in self.parameters.policies]
        return {name: POLICIES[policy] for name, policy in pairs}

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | float]:
        return cross_entropy_sum(model(batch["inputs"]), batch["targets"])
