"""All randomness as a function of what is computed, never of who computes it or when. Pure but for the global generators it sets.

A number is drawn from a hash of the seed and of words that say what it is for. So a step that is redone, or done by
another rank, draws the same.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, *words: int | str) -> int:
    """A number of 63 bits from the seed and what it is for."""
    text = "\0".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@cache
def _has_gpu() -> bool:
    return torch.cuda.is_available()


def seed_all(number: int) -> None:
    """Set the global generators of torch, numpy and Python: user code may use any of them."""
    if _has_gpu():
        torch.manual_seed(number)
    else:  # without a GPU manual_seed formats a stack trace for the day when there is one: a quarter of a small model's step
        torch.default_generator.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def seed_model(seed: int) -> None:
    """Before the model is built: the first weights."""
    seed_all(derive(seed, "model"))


def seed_lane(seed: int, step: int, lane: int) -> None:
    """Before a lane's forward pass in a step: dropout, augmentation."""
    seed_all(derive(seed, "lane", step, lane))


def permutation(seed: int, epoch: int, length: int) -> Tensor:
    """The order of the training samples in an epoch: int64 ids, each of 0 … length-1 once."""
    generator = torch.Generator().manual_seed(derive(seed, "epoch", epoch))
    return torch.randperm(length, generator=generator)
