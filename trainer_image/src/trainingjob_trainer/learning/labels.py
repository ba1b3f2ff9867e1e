"""Labels and the outputs that belong to them: are they class numbers, and in which dimension are the classes? Pure."""

from __future__ import annotations

import torch
from torch import Tensor


def check_labels(targets: Tensor, classes: int, ignored: int) -> None:
    """Refuse labels that name no class; class probabilities (floating point) are passed over.

    Raises:
        ValueError: naming a label and its sample. torch itself names none, and on a GPU the process is lost by it.
    """
    if targets.is_floating_point():
        return
    wrong = ((targets < 0) | (targets >= classes)) & (targets != ignored)
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"targets: row {place[0]} of the batch has the label {int(targets[tuple(place)])}, beyond the task's {classes} classes;"
            f" labels are from 0 to {classes - 1}, or {ignored} for one that does not count"
        )


def classes_second(outputs: Tensor, targets: Tensor, dimension: int | None = None) -> Tensor:
    """The outputs with their classes in dimension 1, where torch has them.

    Args:
        outputs: (samples, classes, …) or (samples, …, classes).
        targets: class numbers (samples, …), or class probabilities, whose outputs are left as they are.
        dimension: where the classes are; None: as the shapes say.

    Raises:
        ValueError: the shapes do not fit each other, or leave it open.
    """
    if targets.is_floating_point():
        return outputs
    arranged = {1: outputs, -1: outputs.movedim(-1, 1) if outputs.dim() > 1 else outputs}
    fitting = [place for place, each in arranged.items() if (*each.shape[:1], *each.shape[2:]) == tuple(targets.shape) and each.dim() > 1]
    shapes = f"the outputs have the shape {tuple(outputs.shape)}, the targets {tuple(targets.shape)}"
    if not fitting or (dimension is not None and dimension not in fitting):
        squeeze = "; give the targets the shape (samples,), as squeeze(1) does" if targets.dim() == outputs.dim() else ""
        raise ValueError(f"{shapes}; for targets (samples, ...) they must be (samples, classes, ...) or (samples, ..., classes){squeeze}")
    if dimension is None and len(fitting) > 1 and outputs.dim() > 2:
        raise ValueError(
            f"{shapes}, so the classes may be in the second or in the last dimension; set class_dimension = 1 or -1 in the task"
        )
    return arranged[fitting[0] if dimension is None else dimension]


def counts(targets: Tensor, guesses: Tensor, classes: int) -> Tensor:
    """How often each class was hit, was the target, and was guessed: int64, (3, classes).

    Args:
        targets: class numbers, one dimension.
        guesses: likewise, as many.
        classes: how many there are.

    Raises:
        ValueError: a guess is beyond the classes.
    """
    parts = [torch.bincount(part, minlength=classes) for part in (targets[targets == guesses], targets, guesses)]
    if any(len(part) > classes for part in parts):
        raise ValueError(f"evaluation: the model has more outputs than the task's {classes} classes; make them as many")
    return torch.stack(parts)
