"""One buffer of a model: what stands in its place, and whether it has changed. Effects: the model's buffers."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.learning.buffers import Policy, persistent_buffers

COUNTER_ELEMENTS = 64
"""An integer buffer of at most so many elements, of which nothing is declared, is taken for a counter."""
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class Place:
    """A buffer's place in its module."""

    name: str
    module: nn.Module
    key: str
    policy: Policy | None
    persistent: bool
    tensor: Tensor
    """The object that stands here between steps, whatever forward puts here."""
    before: Tensor
    """Its value when the step began."""
    first: Tensor | None
    """With PerRank, its value when the model was built."""
    own: Tensor | None = None
    """With PerRank, what this rank's lane made of it; None if it has not changed."""

    @property
    def label(self) -> str:
        """As messages name it."""
        return f"the buffer {self.name!r} of {type(self.module).__name__}"

    @property
    def is_counter(self) -> bool:
        """Integers so few that they count something, and nothing is declared."""
        counts = not (self.tensor.is_floating_point() or self.tensor.is_complex())
        return self.policy is None and self.persistent and counts and self.tensor.numel() <= COUNTER_ELEMENTS

    def value(self) -> Tensor:
        """What stands here now; with Keep, the buffer's own object.

        Raises:
            UserMistake: it is no tensor of the same shape, type and device.
        """
        if self.policy is Policy.KEEP:
            return self.tensor.detach()  # nobody shares what forward has put here, and its own object comes back
        now = self.module._buffers.get(self.key)
        if now is None or (now.shape, now.dtype, now.device) != (self.tensor.shape, self.tensor.dtype, self.tensor.device):
            found = "nothing" if now is None else f"a tensor of {_describe(now)}"
            fix = "" if self.persistent else f"; if it is a cache, write into the task: def buffers(self): return {{{self.name!r}: Keep}}"
            raise UserMistake(
                f"spec.training.task.class: forward puts {found} in the place of {self.label}, which is a tensor of"
                f" {_describe(self.tensor)}; a buffer must keep its shape and type, since the workers share it{fix}"
            )
        return now.detach()

    def take_grown(self) -> None:
        """With Keep and outside the state, a tensor of another shape here is a cache that has grown: it stays.

        The module may well remember how large it is.
        """
        now = self.module._buffers.get(self.key)
        if self.policy is Policy.KEEP and not self.persistent and now is not None and now.shape != self.tensor.shape:
            self.tensor, self.before = now, now.detach().clone()

    def put_back(self, *, copy: bool) -> None:
        """Put the buffer's own object here; with `copy`, and its value when the step began into it."""
        self.module._buffers[self.key] = self.tensor
        if copy:
            self.tensor.copy_(self.before)

    def ask_for_policy(self, what: str) -> UserMistake:
        """The error that says which line to write.

        Args:
            what: the end of "forward changes the buffer …".
        """
        if self.persistent:
            choice = "Rank0 (all take the first worker's), Mean (the mean of the changes), PerRank or Keep"
            line = f"{{{self.name!r}: Rank0}}"
        else:
            choice = "Keep (it is a cache: put it back after each step) or PerRank, or register it as persistent if it is a state"
            line = f"{{{self.name!r}: Keep}}"
        return UserMistake(
            f"spec.training.task.class: forward changes {self.label}{what}; say what the workers go on with: {choice}."
            f" Write into the task: def buffers(self): return {line}, with the names of trainingjob_trainer.learning.buffers"
        )


def places(model: nn.Module, policies: Mapping[str, Policy | None]) -> Iterator[Place]:
    """All buffers of the model, each once.

    Raises:
        UserMistake: one has come since the model was made.
    """
    refuse_new_names(model, policies)
    persistent = persistent_buffers(model)
    for name, tensor in model.named_buffers():
        path, _, key = name.rpartition(".")
        policy = policies[name]
        first = tensor.detach().clone() if policy is Policy.PER_RANK else None
        yield Place(name, model.get_submodule(path), key, policy, name in persistent, tensor, tensor.detach().clone(), first)


def refuse_new_names(model: nn.Module, known: Container[str]) -> None:
    """Raise UserMistake if the model has buffers beside the known ones: a new worker's model would not have them."""
    for name, _ in model.named_buffers():
        if name not in known:
            raise UserMistake(
                f"spec.training.task.class: forward registers the buffer {name!r}; register it when the model is made: a new worker"
                " builds the model, and is given the state by name"
            )


def differing(values: Sequence[Tensor], others: Sequence[Tensor]) -> list[bool]:
    """Which of the tensors differ from their partner of the same shape and type in any bit. NaN equals NaN of the same bits."""
    pairs = [(bits_of(value), bits_of(other)) for value, other in zip(values, others, strict=True)]
    if pairs and pairs[0][0].device.type != "cpu":  # one synchronisation for all
        flags: list[bool] = torch.stack([(value != other).any() for value, other in pairs]).tolist()
        return flags
    return [not torch.equal(value, other) for value, other in pairs]


def real_view(tensor: Tensor) -> Tensor:
    """The tensor, a complex one as pairs of real numbers."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def bits_of(tensor: Tensor) -> Tensor:
    """The tensor's bits as integers of its elements' size."""
    tensor = real_view(tensor.detach())
    return tensor.view(_INTEGERS[tensor.element_size()])


def _describe(tensor: Tensor) -> str:
    where = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"shape {tuple(tensor.shape)} and type {str(tensor.dtype).removeprefix('torch.')}{where}"
