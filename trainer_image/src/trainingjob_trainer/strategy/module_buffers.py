"""The state of a model that forward passes change: batch normalisation's statistics and the like. Effects: the model's buffers.

Every lane starts from the buffers as they were when the step began. What each lane made of them is averaged, weighted with
the lanes' weights. Averaged are the changes, so that a buffer that nobody changes keeps its bits. Integers (a count of
batches) are averaged too, and rounded. Buffers that are not part of the model's state (persistent=False) are put back but not averaged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ModuleBuffers:
    """The buffers of a model, and what they were before the step."""

    def __init__(self, model: nn.Module) -> None:
        state = model.state_dict(keep_vars=True)
        persistent = {id(value) for value in state.values() if isinstance(value, Tensor)}
        named = [(name, buffer) for name, buffer in model.named_buffers() if buffer is not None]
        self._model = model
        self._all = [name for name, _ in named]
        self._averaged = [name for name, buffer in named if id(buffer) in persistent]
        self._before: dict[str, Tensor] = {}
        self.width = sum(buffer.numel() for name, buffer in named if id(buffer) in persistent)
        """Elements of all averaged buffers."""

    def keep(self) -> None:
        """Remember the buffers: a step begins."""
        self._before = {name: self._get(name).detach().clone() for name in self._all}

    @torch.no_grad()
    def put_back(self) -> None:
        """As they were when the step began."""
        for name, before in self._before.items():
            self._get(name).copy_(before)

    @torch.no_grad()
    def write_change(self, weight: float, into: Tensor) -> None:
        """`into` (float64, width elements) gets weight * (now - before)."""
        if not self.width:
            return
        changes = [(self._get(name).double() - self._before[name].double()).flatten() for name in self._averaged]
        into.copy_(torch.cat(changes).mul_(weight))

    @torch.no_grad()
    def apply(self, change: Tensor, weight: float) -> None:
        """Take the sum of all lanes' changes over: before + change / weight."""
        self.put_back()
        if not self.width or weight == 0:
            return
        start = 0
        for name in self._averaged:
            buffer = self._get(name)
            part = (change[start : start + buffer.numel()] / weight).view_as(buffer)
            start += buffer.numel()
            moved = buffer.double() + part
            buffer.copy_(moved if buffer.is_floating_point() else moved.round())

    def _get(self, name: str) -> Tensor:
        # By name each time: user code may put a new tensor in a buffer's place.
        return self._model.get_buffer(name)
