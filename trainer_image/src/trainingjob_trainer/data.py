"""Where samples come from: datasets that answer for any ids, and the split into training, validation and test. Pure.

A dataset has no order and no state of its own: which ids make a batch is the loop's business, so that the same ids are
computed whoever is present. Nothing here reads a file or a clock, and nothing depends on the worker it runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainingjob_trainer.learning.collate import collate_samples, without_rows

Batch = Mapping[str, Any]
"""Columns by name: tensors of the shape (samples, …), lists of texts, or dictionaries and lists of those. Classification and Regression
expect `inputs` and `targets`."""


class Dataset(Protocol):
    """Samples 0 … len-1, to be had in any order and as often as wanted."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def batch(self, ids: Tensor) -> Batch:
        """The samples `ids` (int64, one dimension, possibly empty), in that order."""
        ...


@dataclass(frozen=True)
class Splits:
    """The three parts of the data. They must not share a sample; validation and test may be empty."""

    train: Dataset
    validation: Dataset
    test: Dataset


class Rows:
    """A dataset held in memory: named tensors with one row a sample.

    Raises:
        ValueError: when the columns differ in length, or there is none.
    """

    def __init__(self, **columns: Tensor) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Rows: all columns need the same number of rows, these have {lengths or 'no column at all'}")
        self.columns = columns
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def batch(self, ids: Tensor) -> Batch:
        """The rows `ids` of every column."""
        return {name: column[ids] for name, column in self.columns.items()}

    def select(self, ids: Tensor) -> Rows:
        """A dataset of these rows alone (a copy)."""
        return Rows(**self.batch(ids))

    def split(self, seed: int, validation: float, test: float, labels: Tensor | None = None) -> tuple[Rows, Rows, Rows]:
        """The rows in three parts (train, validation, test), as split_ids says."""
        train, middle, last = split_ids(len(self), seed, validation, test, labels)
        return self.select(train), self.select(middle), self.select(last)


class MapStyle(Protocol):
    """What torch calls a map-style dataset: `dataset[i]` is sample i."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Sample `index`, the pair (input, target)."""
        ...


class Pairs:
    """Makes a Dataset of any map-style dataset of (input, target) pairs, or of dictionaries.

    `dataset[i]` must give the same for the same i on every worker. A pair makes the columns `inputs` and `targets`, a dictionary one column
    a key. Tensors, arrays and numbers are stacked; texts become a list; what is inside dictionaries and lists is collated likewise.
    """

    def __init__(self, dataset: MapStyle) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, ids: Tensor) -> Batch:
        """The samples `ids` by columns.

        Raises:
            ValueError: a sample is no pair, or samples do not stack; the message names them, and says how to mend it.
        """
        if not len(ids):
            # The shapes and types of an empty batch are those of a batch of one, less its row.
            return {name: without_rows(column) for name, column in self.batch(torch.zeros(1, dtype=torch.int64)).items()}
        return collate_samples([self._dataset[index] for index in ids.tolist()], ids.tolist())


class Subset:
    """Some samples of another dataset, read through it."""

    def __init__(self, dataset: Dataset, ids: Tensor) -> None:
        self._dataset = dataset
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, ids: Tensor) -> Batch:
        """The samples `ids`, counted within this subset."""
        return self._dataset.batch(self._ids[ids])


def split_ids(length: int, seed: int, validation: float, test: float, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The ids 0 … length-1 in three disjoint parts (train, validation, test), each in ascending order.

    A pure function of its arguments: no library's random generator is asked, so it is the same with every version.

    Args:
        length: the number of samples.
        seed: another seed, another split.
        validation: fraction of all samples, from 0 to below 1; rounded to whole samples.
        test: likewise.
        labels: with the class of every sample, each part holds the classes in equal proportions (stratified).

    Raises:
        ValueError: when a fraction is out of range, or no sample is left to train on.
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 <= fraction < 1:
            raise ValueError(f"{name}: must be a fraction from 0 to below 1, is {fraction}")
    held_out = round(length * test)
    checked = round(length * validation)
    if held_out + checked >= length:
        raise ValueError(f"validation and test: {checked} and {held_out} of {length} samples leave none to train on; lower one of them")
    order = _order(length, seed, None if labels is None else labels.cpu().numpy())
    parts = (order[held_out + checked :], order[held_out : held_out + checked], order[:held_out])
    train, middle, last = (torch.from_numpy(np.sort(part)) for part in parts)
    return train, middle, last


def split(dataset: Dataset, seed: int, validation: float, test: float, labels: Tensor | None = None) -> Splits:
    """Any dataset in three parts, as split_ids says; samples are read when they are asked for."""
    train, middle, last = split_ids(len(dataset), seed, validation, test, labels)
    return Splits(Subset(dataset, train), Subset(dataset, middle), Subset(dataset, last))


def _order(length: int, seed: int, labels: NDArray[Any] | None) -> NDArray[np.int64]:
    """All ids, shuffled; with labels, so that any beginning of it holds the classes in proportion."""
    keys = _scramble(length, seed)
    shuffled = np.argsort(keys, kind="stable").astype(np.int64)
    if labels is None:
        return shuffled
    if len(labels) != length:
        raise ValueError(f"labels: {len(labels)} labels for {length} samples")
    place = np.empty(length, dtype=np.float64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((keys, place)).astype(np.int64)


def _scramble(length: int, seed: int) -> NDArray[np.uint64]:
    """One 64-bit number per id: SplitMix64 (Steele, Lea and Flood, 2014), whose step is a bijection, so none occurs twice."""
    start = np.array([(seed * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) % 2**64], dtype=np.uint64)
    state = start + np.arange(1, length + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast("NDArray[np.uint64]", state ^ (state >> np.uint64(31)))
