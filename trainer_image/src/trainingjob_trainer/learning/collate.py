"""Samples into columns, and columns onto a device. Pure.

As torch's default_collate, but that Python's numbers become what `torch.as_tensor` makes of them (float32, not float64), and that samples
which do not stack are told with their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FIX = "pad them in __getitem__, or give a dataset of your own with batch(ids) in place of Pairs"


def collate_samples(samples: Sequence[Any], ids: Sequence[int]) -> dict[str, Any]:
    """The columns of samples that are dictionaries, or pairs of (input, target).

    Args:
        samples: at least one.
        ids: their numbers, for messages.

    Raises:
        ValueError: they are neither, or do not stack.
    """
    if all(isinstance(sample, Mapping) for sample in samples):
        return _collated_maps(samples, ids, "")
    for sample, number in zip(samples, ids, strict=True):
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            size = f" of {len(sample)}" if isinstance(sample, tuple | list) else ""
            raise ValueError(
                f"Pairs: sample {number} is a {type(sample).__name__}{size}, and not (input, target) or a dictionary;"
                " return one of those from __getitem__, or give a dataset of your own with batch(ids)"
            )
    return {name: _collated([sample[place] for sample in samples], ids, name) for place, name in enumerate(("inputs", "targets"))}


def without_rows(column: Any) -> Any:
    """The column without its samples: shapes and types stay."""
    if isinstance(column, Tensor):
        return column[:0]
    if isinstance(column, Mapping):
        return {key: without_rows(value) for key, value in column.items()}
    if isinstance(column, list) and all(isinstance(value, str | bytes) for value in column):
        return []
    return [without_rows(value) for value in column]


def to_device(column: Any, device: torch.device) -> Any:
    """The column with all tensors in it on `device`."""
    if isinstance(column, Tensor):
        return column.to(device, non_blocking=True)
    if isinstance(column, Mapping):
        return {key: to_device(value, device) for key, value in column.items()}
    if isinstance(column, tuple | list):
        return [to_device(value, device) for value in column]
    return column


def _collated(values: Sequence[Any], ids: Sequence[int], name: str) -> Any:
    first = values[0]
    if isinstance(first, str | bytes):
        return list(values)
    if isinstance(first, Mapping):
        return _collated_maps(values, ids, f"{name}.")
    if isinstance(first, tuple | list) and not _is_numeric(first):
        return _collated_lists(values, ids, name)
    return _stacked(values, ids, name)


def _collated_maps(values: Sequence[Mapping[str, Any]], ids: Sequence[int], prefix: str) -> dict[str, Any]:
    keys = list(values[0])
    for value, number in zip(values, ids, strict=True):
        if not isinstance(value, Mapping) or set(value) != set(keys):
            has = ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise ValueError(
                f"Pairs: sample {ids[0]} has {', '.join(map(str, keys))}, and sample {number} has {has}; give all the same keys"
            )
    return {key: _collated([value[key] for value in values], ids, f"{prefix}{key}") for key in keys}


def _collated_lists(values: Sequence[Any], ids: Sequence[int], name: str) -> list[Any]:
    size = len(values[0])
    for value, number in zip(values, ids, strict=True):
        if len(value) != size:
            raise ValueError(f"Pairs: {name} of sample {ids[0]} has {size} entries, of sample {number} {len(value)}; {_FIX}")
    return [_collated([value[place] for value in values], ids, f"{name}[{place}]") for place in range(size)]


def _stacked(values: Sequence[Any], ids: Sequence[int], name: str) -> Tensor:
    tensors = []
    for value, number in zip(values, ids, strict=True):
        if not isinstance(value, Tensor | np.ndarray | np.generic | Number | tuple | list):
            raise ValueError(
                f"Pairs: {name} of sample {number} is a {type(value).__name__}, which is no tensor, array, number or text;"
                " turn it into one in __getitem__ (an image: with a transform such as ToTensor)"
            )
        tensors.append(value if isinstance(value, Tensor) else torch.as_tensor(value))
    for tensor, number in zip(tensors, ids, strict=True):
        if tensor.shape != tensors[0].shape:
            shapes = f"{tuple(tensors[0].shape)} and {tuple(tensor.shape)}"
            raise ValueError(f"Pairs: {name} of samples {ids[0]} and {number} have the shapes {shapes}, which do not stack; {_FIX}")
    return torch.stack(tensors)


def _is_numeric(value: Any) -> bool:
    """Numbers alone, however deep: torch.as_tensor takes them as one tensor."""
    if isinstance(value, tuple | list):
        return all(_is_numeric(part) for part in value)
    return isinstance(value, Number | np.generic | np.ndarray) or (isinstance(value, Tensor) and value.dim() == 0)
