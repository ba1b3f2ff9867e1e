"""Samples of a map-style dataset as columns: what torch's default_collate makes of them, or a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from trainingjob_trainer.data import Pairs
from trainingjob_trainer.learning.collate import to_device


class Listed:
    def __init__(self, *samples: Any) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:
        return self._samples[index]


def collated(*samples: Any) -> Any:
    return Pairs(Listed(*samples)).batch(torch.arange(len(samples)))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def sample(number: int) -> dict[str, Any]:
    return {
        "ids": torch.arange(3) + number,
        "array": np.arange(2) * number,
        "text": f"text {number}",
        "label": number,
        "nested": {"mask": torch.ones(2, 2) * number, "deep": {"name": "a"}},
        "views": [torch.ones(2) * number, torch.zeros(3)],
    }


def test_dictionaries_are_collated_as_torch_does_it() -> None:
    assert same(default_collate([sample(1), sample(2)]), collated(sample(1), sample(2)))


def test_pairs_of_a_dictionary_and_a_target_are_collated() -> None:
    batch = collated((sample(1), 0), (sample(2), 1))
    assert same(default_collate([sample(1), sample(2)]), batch["inputs"])
    assert batch["targets"].tolist() == [0, 1]


def test_numbers_keep_torchs_own_types() -> None:
    batch = collated(([1.0, 2.0], 0.5), ([3.0, 4.0], 1.5))
    assert batch["inputs"].dtype == batch["targets"].dtype == torch.float32
    assert batch["inputs"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_an_empty_batch_has_the_columns_without_rows() -> None:
    batch = Pairs(Listed(sample(1))).batch(torch.tensor([], dtype=torch.int64))
    assert batch["ids"].shape == (0, 3)
    assert (batch["text"], batch["label"].shape) == ([], (0,))
    assert batch["nested"]["mask"].shape == (0, 2, 2)
    assert [view.shape for view in batch["views"]] == [(0, 2), (0, 3)]


def test_nested_tensors_go_to_the_device() -> None:
    batch = to_device(collated(sample(1), sample(2)), torch.device("meta"))
    assert (batch["ids"].device.type, batch["nested"]["mask"].device.type, batch["views"][0].device.type) == ("meta",) * 3
    assert batch["text"] == ["text 1", "text 2"]


REFUSED = {
    "ragged": (
        [(torch.zeros(3), 0), (torch.zeros(5), 0)],
        r"inputs of samples 0 and 1 have the shapes \(3,\) and \(5,\), which do not stack; pad",
    ),
    "ragged, nested": ([({"a": torch.zeros(3)}, 0), ({"a": torch.zeros(2)}, 0)], r"inputs\.a of samples 0 and 1 have the shapes"),
    "lists of different length": ([(["a"], 0), (["a", "b"], 0)], "inputs of sample 0 has 1 entries, of sample 1 2; pad them"),
    "three parts": ([(1, 2, 3)], r"sample 0 is a tuple of 3, and not \(input, target\) or a dictionary; return one of those"),
    "a tensor alone": ([torch.zeros(2)], "sample 0 is a Tensor, and not"),
    "other keys": ([{"a": 1}, {"b": 1}], "sample 0 has a, and sample 1 has b; give all the same keys"),
    "an object": ([(object(), 0)], "inputs of sample 0 is a object, which is no tensor, array, number or text; turn it into one"),
    "nothing": ([(None, 0)], "inputs of sample 0 is a NoneType"),
}


@pytest.mark.parametrize(("samples", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_collated_is_told_with_the_sample_and_the_fix(samples: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Pairs: {message}"):
        collated(*samples)
