"""The training state of this process: tensors by name, and where training stands. Effects: the model and the optimizer.

It does not know where a state comes from or goes to. While `dirty` is set the tensors are worth nothing: nobody may take them for a state.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainingjob_api.contract.messages import State
from trainingjob_api.storage.manifest import EarlyStopping as StoredEarlyStopping
from trainingjob_api.storage.manifest import Position
from trainingjob_trainer.learning.buffers import Policy
from trainingjob_trainer.learning.early_stopping import EarlyStopping
from trainingjob_trainer.learning.optimizer import update

ZERO_STATE = (torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adam, torch.optim.AdamW)
"""Optimizers whose lazily made state begins as zeros."""


@dataclass
class TrainingState:
    """Everything that a step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    attempt: int = 0
    """The line of history it belongs to."""
    step: int = 0
    """Finished optimizer steps."""
    digest: str = ""
    dirty: bool = True
    """The tensors are being changed, or the change was interrupted; so it is at first."""
    lanes: int = 0
    """With reduction Deterministic, the lanes that this line of history was begun with; 0: not begun."""
    evaluated_step: int = 0
    """The last step at which the model was evaluated."""
    metrics: dict[str, float] = field(default_factory=dict)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    stopped_early: bool = False
    clean: bool = True
    """No step so far saw a loss that is not finite."""
    buffer_policies: dict[str, Policy | None] = field(default_factory=dict)
    """What becomes of each of the model's buffers. Those that each rank has for itself are no part of the state."""

    def summary(self) -> State | None:
        """What the others are told; None: nothing here may be used."""
        return None if self.dirty else State(attempt=self.attempt, step=self.step, digest=self.digest)

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors by name, in an order that depends on the model and the optimizer alone."""
        own = {f"model/{name}" for name, policy in self.buffer_policies.items() if policy is Policy.PER_RANK}
        return {name: tensor for name, tensor in named_tensors(self.model, self.optimizer).items() if name not in own}

    def weights(self) -> dict[str, Tensor]:
        """The model's tensors among them, by their names in the model."""
        return {name.removeprefix("model/"): tensor for name, tensor in self.tensors().items() if name.startswith("model/")}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around a change of the tensors. An exception leaves them dirty."""
        self.dirty = True
        yield
        self.dirty = False

    def extend_digest(self, kind: str, *numbers: float) -> None:
        """Chain what has just been agreed on; equal digests at a step mean equal states."""
        data = self.digest.encode() + kind.encode() + struct.pack(f"<q{len(numbers)}d", self.step, *numbers)
        self.digest = hashlib.blake2b(data, digest_size=16).hexdigest()

    def restart(self, attempt: int, seed: int) -> None:
        """Stand at step 0; the tensors are the caller's business."""
        first = hashlib.blake2b(f"seed {seed}".encode(), digest_size=16).hexdigest()
        self.adopt(Position(digest=first), attempt)

    def adopt(self, position: Position, attempt: int) -> None:
        """Stand where `position` says; the tensors are the caller's business."""
        self.attempt, self.step, self.digest = attempt, position.step, position.digest
        evaluated = position.extra.get("evaluated_step", 0)
        self.evaluated_step = evaluated if isinstance(evaluated, int) else 0
        self.metrics = dict(position.metrics)
        self.early_stopping = EarlyStopping(position.early_stopping.best, position.early_stopping.evaluations_without_gain)
        self.stopped_early = position.early_stopping.stopped
        self.clean = position.clean
        self.lanes = position.lanes

    def stored_early_stopping(self) -> StoredEarlyStopping:
        """As a checkpoint keeps it."""
        return StoredEarlyStopping(
            best=self.early_stopping.best,
            evaluations_without_gain=self.early_stopping.bad_epochs,
            stopped=self.stopped_early,
        )

    def finite(self) -> bool:
        """Whether all weights are finite."""
        return all(_is_finite(parameter.detach()) for parameter in self.model.parameters())


def _is_finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.element_size() < 4:
        tensor = tensor.float()  # torch does not add up types of eight bits, and a sum in half precision is infinite too soon
    return bool(torch.isfinite(tensor.sum()))


def named_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """model/<name> for parameters and persistent buffers (tied ones once), optimizer/<parameter>/<key> for its state."""
    persistent = {id(value) for value in model.state_dict(keep_vars=True).values() if isinstance(value, Tensor)}
    found: dict[str, Tensor] = {f"model/{name}": parameter.detach() for name, parameter in model.named_parameters()}
    found |= {f"model/{name}": buffer for name, buffer in model.named_buffers() if id(buffer) in persistent}
    for name, parameter in model.named_parameters():
        for key, value in sorted(optimizer.state.get(parameter, {}).items()):
            if isinstance(value, Tensor):
                found[f"optimizer/{name}/{key}"] = value
    return found


def materialise(optimizer: torch.optim.Optimizer) -> None:
    """Make the state that torch makes at the first step now, as zeros, so that a newcomer can be given it. Changes no weight.

    Raises:
        AssertionError: the optimizer's first state is not known to be zeros.
    """
    assert isinstance(optimizer, ZERO_STATE), f"the first state of {type(optimizer).__name__} is not known"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    weights = [parameter.detach().clone() for parameter in parameters]
    known = {
        (index, key): value.clone()
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    update(optimizer)
    with torch.no_grad():
        for index, (parameter, weight) in enumerate(zip(parameters, weights, strict=True)):
            parameter.copy_(weight)
            parameter.grad = None
            for key, value in optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    value.copy_(known[index, key]) if (index, key) in known else value.zero_()


@torch.no_grad()
def copy_tensors(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy values between two states of the same model and optimizer."""
    assert source.keys() == target.keys()
    for name, tensor in target.items():
        tensor.copy_(source[name])
