"""All gradients in a few flat tensors whose layout depends on the model alone. Effects: the parameters' `grad`.

Each parameter's grad is a view into its bucket, so nothing is copied, a parameter that got no gradient counts as zeros,
and the bits of a sum do not depend on when which gradient was ready. Buckets follow the parameters from last to first,
the order in which backward finishes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

CAPACITY_BYTES = 8 << 20
"""A bucket is closed when it has this much. Part of the layout: changing it changes the last bits of results."""


@dataclass
class Bucket:
    """One flat tensor, and the parameters whose gradients it holds."""

    flat: Tensor
    members: list[nn.Parameter]
    views: list[Tensor] = field(default_factory=list)


class Buckets:
    """The gradients of a model.

    Args:
        parameters: those that are trained, in model order.
        capacity: bytes of a bucket.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], capacity: int = CAPACITY_BYTES) -> None:
        self.buckets = [_allocate(members) for members in _group(list(parameters)[::-1], capacity)]
        self._waiting: list[set[int]] = []
        self._next = 0
        self._launch: Callable[[int], None] | None = None
        for index, bucket in enumerate(self.buckets):
            for parameter in bucket.members:
                parameter.register_post_accumulate_grad_hook(partial(self._ready, index))  # type: ignore[no-untyped-call]

    def flats(self) -> list[Tensor]:
        """The buckets' tensors, in index order."""
        return [bucket.flat for bucket in self.buckets]

    def clear(self) -> None:
        """All gradients zero, and in their places."""
        for bucket in self.buckets:
            bucket.flat.zero_()
            for parameter, view in zip(bucket.members, bucket.views, strict=True):
                parameter.grad = view

    def arm(self, launch: Callable[[int], None]) -> None:
        """The next backward pass is the last one: `launch(index)` is called for each bucket as it and all before it are complete."""
        self._waiting = [{id(parameter) for parameter in bucket.members} for bucket in self.buckets]
        self._next = 0
        self._launch = launch

    def flush(self) -> None:
        """Launch what is left: buckets that backward did not complete, or all where there was none."""
        assert self._launch is not None, "flush without arm"
        launch, self._launch = self._launch, None
        while self._next < len(self.buckets):
            self._next += 1
            launch(self._next - 1)

    def _ready(self, index: int, parameter: Tensor) -> None:
        if self._launch is None:
            return
        self._waiting[index].discard(id(parameter))
        while self._next < len(self.buckets) and not self._waiting[self._next]:
            self._next += 1
            self._launch(self._next - 1)


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
    flat = torch.zeros(sum(parameter.numel() for parameter in members), dtype=members[0].dtype, device=members[0].device)
    pieces = torch.split(flat, [parameter.numel() for parameter in members])
    return Bucket(flat, members, [piece.view_as(parameter) for piece, parameter in zip(pieces, members, strict=True)])
