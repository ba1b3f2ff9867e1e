"""Losses and blocks whose gradients do not come once, in place, in one backward pass; and parameters that get none."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.loss import LossSum, cross_entropy_sum
from unit.conformity.specimen import FEATURES, MOMENTUM, Specimen, classify, head, read

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


class Grouped(nn.Module):
    """The block is used once for each class among the samples, under reentrant checkpoints: more often at one worker than at another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, WIDTH).double()
        self.block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.head = head(WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.first(inputs.double()).float()
        classes = inputs[:, :3].argmax(dim=1)
        parts = [(classes == number).nonzero()[:, 0] for number in classes.unique()]
        order = torch.cat(parts)
        blocks = torch.cat([checkpoint(self.block, found[part], use_reentrant=True) for part in parts])
        return self.head(blocks[order.argsort()])


class Deepening(nn.Module):
    """The block is used once in the first step, twice in the second, and so on."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, WIDTH).double()
        self.block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.head = head(WIDTH)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += 1
        found = self.first(inputs.double()).float()
        for _ in range(int(self.steps)):
            found = checkpoint(self.block, found, use_reentrant=True)
        return self.head(found)


class Thawing(nn.Module):
    """The body stands still for the first steps, and the last head after them."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.late = nn.Linear(FEATURES, WIDTH), head(WIDTH), head(WIDTH)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += 1
        self.body.requires_grad_(bool(self.steps > 2))
        self.head.requires_grad_(bool(self.steps < 4))
        found = self.body(inputs).relu()
        return self.head(found) + (self.late(found) if self.steps > 3 else 0)


class Woken(nn.Module):
    """A body that was frozen when the job began is trained from the third step on."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, WIDTH).requires_grad_(False), head(WIDTH)
        self.steps = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += 1
        self.body.requires_grad_(self.steps > 2)
        return self.head(self.body(inputs).relu())


class Experts(nn.Module):
    """Each sample goes to one of three experts; the last one sees few samples, and none in some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(FEATURES, 3) for _ in range(3))

    def forward(self, inputs: Tensor, ids: Tensor) -> Tensor:
        choice = torch.where(ids < 2, 2, ids % 2)
        found = inputs.new_zeros(len(inputs), 3)
        for number, expert in enumerate(self.experts):
            if (choice == number).any():
                found = found.index_add(0, (choice == number).nonzero()[:, 0], expert(inputs[choice == number]))
        return found


class Unrolled(nn.Module):
    """One cell for all tokens, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell, self.head = nn.Embedding(10, WIDTH), nn.GRUCell(WIDTH, WIDTH), head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.words.weight.new_zeros(len(tokens), WIDTH)
        for place in range(tokens.shape[1]):
            state = self.cell(self.words(tokens[:, place]), state)
        return self.head(state)


class Pair(nn.Module):
    """A generator and its critic."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, FEATURES))
        self.critic = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))


class Hooked(nn.Module):
    """Gradients are clamped as they come, by hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        for parameter in self.body.parameters():
            parameter.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
        self.body[2].weight.register_post_accumulate_grad_hook(_halve)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body(inputs)


def _halve(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad /= 2


def by_expert(model: nn.Module, batch: Batch) -> LossSum:
    return cross_entropy_sum(model(batch["inputs"], batch["ids"]), batch["targets"])


def both(model: nn.Module, batch: Batch) -> LossSum:
    """The critic learns to tell made samples from given ones, the generator to be taken for given, in one sum."""
    assert isinstance(model, Pair)
    made = model.generator(batch["inputs"].roll(1, dims=1))
    lying = functional.softplus(model.critic(made.detach())) + functional.softplus(-model.critic(batch["inputs"]))
    model.critic.requires_grad_(False)
    fooled = functional.softplus(-model.critic(made))
    model.critic.requires_grad_(True)
    return lying.sum() + fooled.sum(), float(len(made))


def penalty(model: nn.Module, batch: Batch) -> LossSum:
    """The loss, and how steep it is at the inputs."""
    inputs = batch["inputs"].clone().requires_grad_()
    loss, count = cross_entropy_sum(model(inputs), batch["targets"])
    (slope,) = torch.autograd.grad(loss, inputs, create_graph=True)
    return loss + slope.square().sum(), count


def learned_to_learn(model: nn.Module, batch: Batch) -> LossSum:
    """The loss after one step of gradient descent on every sample by itself, through the step (MAML)."""
    weights = dict(model.named_parameters())

    def after_a_step(inputs: Tensor, target: Tensor) -> Tensor:
        def cost(values: dict[str, Tensor]) -> Tensor:
            return functional.cross_entropy(functional_call(model, values, (inputs[None],)), target[None])

        slopes = grad(cost)(weights)
        return cost({name: weight - 0.1 * slopes[name] for name, weight in weights.items()})

    costs = [after_a_step(inputs, target) for inputs, target in zip(batch["inputs"], batch["targets"], strict=True)]
    return torch.stack(costs).sum(), float(len(costs))


def compiled() -> nn.Module:
    """Graphs are captured and differentiated ahead of time, and run by torch: a C++ compiler would take most of the zoo's time."""
    return torch.compile(small(), backend="aot_eager")


def added(model: nn.Module, batch: Batch) -> LossSum:
    """A backward pass of its own, whose gradients stay and are added to."""
    (0.01 * model(batch["inputs"]).square().sum()).backward()
    return classify(model, batch)


def part_ignored(model: nn.Module, batch: Batch) -> LossSum:
    """Every fourth label is missing; in some parts of a batch all are."""
    targets = torch.where((batch["ids"] % 4 == 0) | (batch["ids"] < 8), -100, batch["targets"])
    loss = functional.cross_entropy(model(batch["inputs"]), targets, reduction="sum")
    return loss, (targets != -100).sum()


def weighted(model: nn.Module, batch: Batch) -> LossSum:
    each = functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")
    weights = 0.1 + batch["ids"].remainder(5).float()
    return (each * weights).sum(), weights.sum()


REENTRANT = "block reused, reentrant checkpoints"
MOMENTUM_DECAY = {**MOMENTUM, "weightDecay": 0.5}
SPECIMENS = (
    Specimen(REENTRANT, lambda: Reused(reentrant=True), deterministic=True),
    Specimen(f"{REENTRANT}, in micro-batches", lambda: Reused(reentrant=True), training={"microBatchSize": 3}),
    Specimen("block reused, checkpoints", lambda: Reused(reentrant=False)),
    Specimen("block reused by class, reentrant checkpoints", Grouped, again=True, deterministic=True),
    Specimen("block reused more and more, reentrant checkpoints", Deepening, again=True, deterministic=True),
    Specimen("unused head", UnusedHead, deterministic=True),
    Specimen("unused head, momentum", UnusedHead, optimizer=MOMENTUM_DECAY),
    Specimen("body thaws, head freezes", Thawing, again=True, deterministic=True),
    Specimen(
        "body wakes", Woken, late=True, refused="the parameter body.weight was frozen when model() returned it, and got a gradient in s"
    ),
    Specimen("experts", Experts, by_expert, deterministic=True),
    Specimen("experts, momentum", Experts, by_expert, again=True, optimizer=MOMENTUM_DECAY, training={"microBatchSize": 3}),
    Specimen("cell unrolled", Unrolled, read),
    Specimen("generator and critic", Pair, both),
    Specimen("learning to learn", small, learned_to_learn),
    Specimen("compiled", compiled, brief=True),
    Specimen("gradient penalty", small, penalty),
    Specimen("adversarial loss", small, adversarial, deterministic=True),
    Specimen("adversarial loss in micro-batches", small, adversarial, training={"microBatchSize": 3}),
    Specimen("gradients added in the loss", small, added, coupled=True, deterministic=True),
    Specimen("gradient hooks", Hooked, coupled=True, deterministic=True),
    Specimen("dropout", lambda: nn.Sequential(nn.Dropout(0.2), small()), coupled=True, deterministic=True),
    Specimen("labels to ignore", small, part_ignored),
    Specimen("weighted samples", small, weighted, training={"microBatchSize": 4}, deterministic=True),
)
