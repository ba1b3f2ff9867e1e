"""What the workers are held against: a loop of plain torch in one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob_trainer.data import Dataset
from trainingjob_trainer.learning.buffers import Policy, Rank0
from trainingjob_trainer.randomness import permutation, seed_lane, seed_model
from trainingjob_trainer.task import Task

OPTIMIZERS: Mapping[str, Any] = {
    "SGD": lambda groups, rate: torch.optim.SGD(groups, lr=rate),
    "Momentum": lambda groups, rate: torch.optim.SGD(groups, lr=rate, momentum=0.9),
    "Adagrad": lambda groups, rate: torch.optim.Adagrad(groups, lr=rate, eps=1e-8),
    "RMSprop": lambda groups, rate: torch.optim.RMSprop(groups, lr=rate, alpha=0.99, eps=1e-8),
    "Adam": lambda groups, rate: torch.optim.Adam(groups, lr=rate),
    "AdamW": lambda groups, rate: torch.optim.AdamW(groups, lr=rate),
}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def train(task: Task, training: Mapping[str, Any], parts: int = 1) -> dict[str, Tensor]:
    """The state that the job ends with; `parts`: each batch is computed in so many pieces, each from the buffers of before the step."""
    seed, rule = training["seed"], training["optimizer"]
    data = task.splits(seed, 0.1, 0.1).train
    seed_model(seed)
    model = task.model()
    optimizer = OPTIMIZERS[rule["name"]](_groups(model, rule.get("weightDecay", 0.0)), rule["learningRate"])
    for step, ids in enumerate(_batches(data, training)):
        optimizer.zero_grad()
        before, after, weight = _buffers(model), [], 0.0
        gradients: list[list[Tensor | None]] = []
        for part, piece in enumerate(torch.tensor_split(ids, parts)):
            model.zero_grad()
            model.load_state_dict(before, strict=False)
            seed_lane(seed, step, part)
            loss, weight_of_part = task.loss(model, data.batch(piece))
            weight += float(weight_of_part)
            (loss / len(ids)).backward()
            gradients.append([parameter.grad for parameter in model.parameters()])
            after.append((_buffers(model), len(piece)))
        for parameter, found in zip(model.parameters(), zip(*gradients, strict=True), strict=True):
            some = [gradient for gradient in found if gradient is not None]
            parameter.grad = sum(some[1:], some[0]) * (len(ids) / weight) if some else None
        _regularise(model, training.get("regularisation", {}))
        optimizer.step()
        model.load_state_dict(merge(after, task.buffers()), strict=False)
    return {f"model/{name}": tensor.detach() for name, tensor in (*model.named_parameters(), *_buffers(model).items())}


def merge(parts: Sequence[tuple[dict[str, Tensor], int]], policies: Mapping[str, Policy]) -> dict[str, Tensor]:
    """The buffers after a step, from what each part made of them: the mean, weighted by samples, or the first part's."""
    if len(parts) == 1:
        return parts[0][0]
    total = sum(count for _, count in parts)
    means = {name: sum(found[name].double() * count for found, count in parts) / total for name in parts[0][0]}
    first = {name: tensor for name, tensor in parts[0][0].items() if policies.get(name) is Rank0}
    return {name: mean if parts[0][0][name].is_floating_point() else mean.round() for name, mean in means.items()} | first


def _regularise(model: nn.Module, rules: Mapping[str, float]) -> None:
    for parameter in model.parameters():
        if "l1" in rules and parameter.dim() > 1 and parameter.grad is not None:
            parameter.grad += rules["l1"] * parameter.detach().sgn()
    if "gradientClipNorm" in rules:
        torch.nn.utils.clip_grad_norm_(model.parameters(), rules["gradientClipNorm"])


def _batches(data: Dataset, training: Mapping[str, Any]) -> Iterator[Tensor]:
    for epoch in range(training["epochs"]):
        yield from permutation(training["seed"], epoch, len(data)).split(training["globalBatchSize"])


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights decay, biases and norms do not."""
    norms = {id(parameter) for module in model.modules() if isinstance(module, NORMS) for parameter in module.parameters(recurse=False)}
    weights, others = [], []
    for name, parameter in model.named_parameters():
        decays = parameter.dim() > 1 and id(parameter) not in norms and not name.endswith("bias")
        (weights if decays else others).append(parameter)
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """The persistent ones."""
    kept = model.state_dict()
    return {name: buffer.clone() for name, buffer in model.named_buffers() if name in kept}
