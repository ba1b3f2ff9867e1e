"""Makes and steps the optimiser that a manifest names. The update rules are torch's own.

torch decorates its optimisers for its compiler, and imports that at their first use: 2,000 modules, about half of a training process's
start. Nothing here is compiled, so the decorations are passed by; the rules beneath them are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from trainingjob_api.spec.training import Optimizer
from trainingjob_trainer.learning.regularisation import penalised

GROUP_BYTES = 2 << 20
"""Of a group of parameters on a CPU. A rule is a dozen operations, each over all of a group: so little stays in the cache from one to the
next, with the gradients and the state. A larger parameter has a group of its own."""


def build_optimizer(spec: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the model's trainable parameters.

    There are two kinds of parameter groups, each in model order: weights, which decay, and biases and norm layers, which do not. The
    learning rate is set anew by the caller before every step (`set_learning_rate`). All tensors of a group are updated at once (foreach),
    which is quicker for many small ones, on the CPU too. Bits do not depend on the groups.

    Args:
        spec: `training.optimizer`. With AdamW the decay is decoupled from the gradient, with the others it is L2.
        model: on its final device.

    Raises:
        ValueError: when the model has nothing to train.
    """
    decayed = penalised(model)
    known = {id(parameter) for parameter in decayed}
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in known]
    groups: list[dict[str, Any]] = [
        {"params": group, "weight_decay": decay}
        for parameters, decay in ((decayed, spec.weight_decay), (others, 0.0))
        for group in _groups(parameters)
    ]
    _pass_by_the_compiler()
    if not groups:
        raise ValueError("spec.training.task.class: the task's model has no trainable parameter")
    rate, epsilon, betas = spec.learning_rate, spec.epsilon, (spec.beta1, spec.beta2)
    match spec.name:
        case "SGD":
            return torch.optim.SGD(groups, lr=rate, foreach=True)
        case "Momentum":
            return torch.optim.SGD(groups, lr=rate, foreach=True, momentum=spec.momentum)
        case "Adagrad":
            return torch.optim.Adagrad(groups, lr=rate, foreach=True, eps=epsilon)
        case "RMSprop":
            return torch.optim.RMSprop(groups, lr=rate, foreach=True, alpha=spec.alpha, eps=epsilon)
        case "Adam":
            return torch.optim.Adam(groups, lr=rate, foreach=True, betas=betas, eps=epsilon)
        case "AdamW":
            return torch.optim.AdamW(groups, lr=rate, foreach=True, betas=betas, eps=epsilon)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Every group gets this learning rate; it is a function of the step (see schedule), so it needs no state."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(optimizer: torch.optim.Optimizer) -> None:
    """One step by the optimiser's rule, from the parameters' gradients."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def _groups(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of at most GROUP_BYTES on a CPU; all others together."""
    group: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        counted = parameter.nbytes if parameter.device.type == "cpu" else 0
        if group and size + counted > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(parameter)
        size += counted
    if group:
        yield group


def _pass_by_the_compiler() -> None:
    """Let the constructor's one decorated method take itself for what the compiler would make of it.

    torch._compile._disable_dynamo looks for this attribute before it imports the compiler. A torch without it imports, and is slower.
    """
    method = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    if getattr(method, "__dynamo_disable", None) is None:
        setattr(method, "__dynamo_disable", method)  # the name is torch's own
