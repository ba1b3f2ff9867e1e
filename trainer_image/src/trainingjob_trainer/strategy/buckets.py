"""All gradients in a few flat tensors whose layout depends on the model alone. Effects: the parameters' `grad`.

A micro-batch begins without gradients, as after `zero_grad()` in a plain loop. Its gradients are collected from `grad` when its
backward pass is over: so a loss may run backward passes of its own, call zero_grad, or put tensors of its own into `grad`.

In the last backward pass a bucket is launched as soon as it is complete, so that its reduction and the rest of backward overlap.
Autograd accumulates into a parameter once for most models, and more often if, for instance, a block is used twice under reentrant
checkpointing. The buckets learn the number from earlier passes. A gradient that changes after its bucket was launched is noticed
(`missed`); the sums of that step are worthless then, and the step is to be computed again with `early=False`.

Buckets follow the parameters from last to first, the order in which backward finishes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

CAPACITY_BYTES = 8 << 20
"""A bucket is closed when it has this much. Part of the layout: changing it changes the last bits of results."""
PATIENCE = 3
"""After so many misses no bucket is launched early any more: this model's backward passes differ from each other."""


@dataclass
class Bucket:
    """One flat tensor, and the parameters whose gradients it holds."""

    flat: Tensor
    """Real: a complex element is two of it."""
    members: list[nn.Parameter]
    views: list[Tensor]
    """Each member's place in `flat`, in its shape and type."""
    used: list[bool]
    """Whether the lane's loss has given the member a gradient so far. Where it has not, the view holds nothing of value."""
    counts: list[int]
    """How often the last backward pass has accumulated into each member so far."""
    most: list[int]
    """The most that `counts` has come to in any pass."""
    waiting: int = 0
    """Members whose count has not reached `most`."""
    version: int = -1
    """Of `flat` when it was launched."""

    def arm(self) -> None:
        """The last backward pass begins."""
        self.counts = [0] * len(self.members)
        self.waiting = sum(map(bool, self.most))

    @torch.no_grad()
    def collect(self) -> None:
        """Add the members' gradients of this micro-batch to the lane's."""
        first: tuple[list[Tensor], list[Tensor]] = ([], [])
        further: tuple[list[Tensor], list[Tensor]] = ([], [])
        for position, (parameter, view) in enumerate(zip(self.members, self.views, strict=True)):
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout is not torch.strided and not self.used[position]:
                view.zero_()
                self.used[position] = True
            views, gradients = further if self.used[position] else first
            views.append(view)
            gradients.append(gradient)
            self.used[position] = True
            parameter.grad = None
        if first[0]:
            torch._foreach_copy_(*first)
        for view, gradient in zip(*further, strict=True):
            view.add_(gradient)

    @torch.no_grad()
    def seal(self) -> None:
        """Nothing more comes: zeros for members without a gradient."""
        for view, used in zip(self.views, self.used, strict=True):
            if not used:
                view.zero_()

    def give(self, used: Iterable[bool]) -> None:
        """The members' `grad` becomes their view, or None if they were not used."""
        for parameter, view, is_used in zip(self.members, self.views, used, strict=True):
            parameter.grad = view if is_used else None

    def is_disturbed(self) -> bool:
        """Whether a gradient has changed since `launched`."""
        return self.flat._version != self.version or any(
            parameter.grad is not (view if used else None)
            for parameter, view, used in zip(self.members, self.views, self.used, strict=True)
        )


class Buckets:
    """The gradients of a model.

    Args:
        parameters: those that are trained, in model order. Empty ones have no gradient.
        capacity: bytes of a bucket.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], capacity: int = CAPACITY_BYTES) -> None:
        self._parameters = list(parameters)
        self._empty = [parameter for parameter in self._parameters if not parameter.numel()]
        filled = [parameter for parameter in self._parameters if parameter.numel()]
        self.buckets = [_allocate(members) for members in _group(filled[::-1], capacity)]
        self.missed = False
        """Whether a gradient came after its bucket had been launched. Known once the last backward pass is collected."""
        self._misses = 0
        self._early = self._learned = False
        self._next = 0
        self._launch: Callable[[int], None] | None = None
        for bucket in self.buckets:
            for position, parameter in enumerate(bucket.members):
                parameter.register_post_accumulate_grad_hook(partial(self._accumulated, bucket, position))  # type: ignore[no-untyped-call]

    def flats(self) -> list[Tensor]:
        """The buckets' tensors, in index order."""
        return [bucket.flat for bucket in self.buckets]

    def used(self) -> list[bool]:
        """For each parameter, in the buckets' order: whether the lane's loss gave it a gradient."""
        return [used for bucket in self.buckets for used in bucket.used]

    def clear(self) -> None:
        """A lane begins: it has no gradients."""
        self.missed = False
        for bucket in self.buckets:
            bucket.used = [False] * len(bucket.members)

    def begin(self) -> None:
        """A micro-batch begins: no parameter has a gradient."""
        for parameter in self._parameters:
            parameter.grad = None

    def arm(self, launch: Callable[[int], None], *, early: bool = True) -> None:
        """The next backward pass is the last one, or there is none.

        Args:
            launch: called once for each bucket, in index order, when it is complete.
            early: whether that may be before the end of backward.
        """
        self._launch = launch
        self._early = early and self._learned and self._misses < PATIENCE
        for bucket in self.buckets:
            bucket.arm()
        self._advance()

    def collect(self) -> None:
        """A micro-batch's backward pass is over: take its gradients in."""
        self.missed = any(bucket.is_disturbed() for bucket in self.buckets[: self._next])
        self._misses += self.missed
        for bucket in self.buckets[self._next :]:
            bucket.collect()
        if self._launch is not None:
            self._learned = True
            for bucket in self.buckets:
                bucket.most = [max(pair) for pair in zip(bucket.most, bucket.counts, strict=True)]

    def finish(self) -> None:
        """The lane is over: complete the buckets that are not, and launch them if armed."""
        launch, self._launch = self._launch, None
        for index in range(self._next, len(self.buckets)):
            self.buckets[index].seal()
            if launch is not None:
                launch(index)
        self._next = 0

    def give(self, used: Sequence[bool]) -> None:
        """Put the sums into the parameters' `grad`; None where `used`, in the order of `used()`, says that no rank has one."""
        for parameter in self._empty:
            parameter.grad = None
        begin = 0
        for bucket in self.buckets:
            bucket.give(used[begin : begin + len(bucket.members)])
            begin += len(bucket.members)

    def _accumulated(self, bucket: Bucket, position: int, _: Tensor) -> None:
        if self._launch is None:
            return
        bucket.counts[position] += 1
        if bucket.counts[position] == bucket.most[position]:
            bucket.waiting -= 1
            if not bucket.waiting:
                self._advance()

    def _advance(self) -> None:
        """Launch the next buckets, as far as they are complete."""
        assert self._launch is not None
        while self._early and self._next < len(self.buckets) and not self.buckets[self._next].waiting:
            bucket = self.buckets[self._next]
            bucket.collect()
            bucket.seal()
            bucket.give(bucket.used)
            bucket.version = bucket.flat._version
            self._next += 1
            self._launch(self._next - 1)


def is_finite(flat: Tensor) -> bool:
    """Whether no element is infinite or NaN. Half precision is added up in single: its sum would be infinite too soon."""
    return math.isfinite(flat.sum(dtype=torch.float32 if flat.element_size() < 4 else None))


def _group(parameters: list[nn.Parameter], capacity: int) -> list[list[nn.Parameter]]:
    """Neighbours of one type and device, up to the capacity; a larger parameter has a bucket of its own."""
    groups: list[list[nn.Parameter]] = []
    kind, size = None, 0
    for parameter in parameters:
        of_this = (parameter.dtype, parameter.device)
        if kind != of_this or size + parameter.nbytes > capacity:
            groups.append([])
            kind, size = of_this, 0
        groups[-1].append(parameter)
        size += parameter.nbytes
    return groups


def _allocate(members: list[nn.Parameter]) -> Bucket:
    first, count = members[0], len(members)
    sizes = [parameter.numel() * (2 if parameter.is_complex() else 1) for parameter in members]
    flat = torch.zeros(sum(sizes), dtype=first.dtype.to_real(), device=first.device)
    views = [_view(piece, parameter) for piece, parameter in zip(torch.split(flat, sizes), members, strict=True)]
    return Bucket(flat, members, views, [False] * count, [0] * count, [0] * count)


def _view(piece: Tensor, parameter: nn.Parameter) -> Tensor:
    if parameter.is_complex():
        return torch.view_as_complex(piece.view(*parameter.shape, 2))
    return piece.view_as(parameter)
