"""Parameters of every type and shape that torch trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainingjob_trainer.learning.buffers import Keep
from unit.conformity.specimen import CLASSES, FEATURES, LENGTH, WORDS, Specimen, head, read

WIDTH = 16


def half() -> nn.Module:
    return nn.Sequential(Cast(torch.bfloat16), nn.Linear(FEATURES, WIDTH), nn.ReLU(), head(WIDTH), Cast(torch.float32)).to(torch.bfloat16)


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.to(self.dtype)


def mixed() -> nn.Module:
    """Three types, one after the other and back again."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH), Cast(torch.float64), nn.Linear(WIDTH, WIDTH).double(), nn.Tanh(),
        Cast(torch.float32), nn.Linear(WIDTH, WIDTH), nn.Tanh(), Cast(torch.float64), head(WIDTH).double(),
    )  # fmt: skip


class Spectral(nn.Module):
    """A Fourier layer: weights are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(FEATURES // 2 + 1, dtype=torch.complex64) / 2)
        self.mix = nn.Parameter(torch.randn(FEATURES // 2 + 1, FEATURES // 2 + 1, dtype=torch.complex64) / 2)
        self.head = head(FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        waves = (torch.fft.rfft(inputs) * self.weight) @ self.mix
        return self.head(torch.fft.irfft(waves, FEATURES))


class Rotary(nn.Module):
    """Places are turned into angles by a complex buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        angles = torch.arange(LENGTH)[:, None] * 0.7 ** torch.arange(WIDTH // 2)
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)
        self.head = head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        found = torch.view_as_complex(self.words(tokens).unflatten(-1, (WIDTH // 2, 2)))
        return self.head(torch.view_as_real(found * self.turns).flatten(2).mean(dim=1))


class GrowingRotary(Rotary):
    """The angles are a cache that grows with the longest input, and the module remembers how far; a mask is made in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", None, persistent=False)
        self.register_buffer("turns", self.turns[:2].clone(), persistent=False)
        self.longest = 2

    def forward(self, tokens: Tensor) -> Tensor:
        if self.longest < tokens.shape[1]:
            self.longest = tokens.shape[1]
            angles = torch.arange(self.longest)[:, None] * 0.7 ** torch.arange(WIDTH // 2)
            self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)
        if self.mask is None:
            self.mask = torch.ones(tokens.shape[1], 1)
        found = torch.view_as_complex(self.words(tokens).unflatten(-1, (WIDTH // 2, 2)))
        return self.head((torch.view_as_real(found * self.turns).flatten(2) * self.mask).mean(dim=1))


class Scalars(nn.Module):
    """A temperature without a dimension, a and a part that has no element."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.nothing = nn.Parameter(torch.ones(0, 4))
        self.body = nn.Linear(FEATURES, WIDTH)
        self.head = head(WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).tanh()) * self.temperature.exp() + self.nothing.sum()


class Bag(nn.Module):
    """Embeddings with sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, CLASSES, sparse=True)
        self.bag = nn.EmbeddingBag(WORDS, CLASSES, sparse=True, mode="mean")

    def forward(self, tokens: Tensor) -> Tensor:
        return self.bag(tokens) + self.words(tokens[:, 0])


def complex128() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), head(WIDTH))
    model.register_buffer("turns", torch.ones(3, dtype=torch.complex128))
    return model


class ExtraState(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class ExtraTensor(nn.Linear):
    def get_extra_state(self) -> Tensor:
        return torch.ones(2)

    def set_extra_state(self, state: Tensor) -> None:
        pass


def graph() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), head(WIDTH))
    model.register_buffer("edges", torch.eye(4).to_sparse())
    return model


class Named(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, head(FEATURES))


SPARSE = {"name": "SGD", "learningRate": 0.5}
SPECIMENS = (
    Specimen("half precision", half, optimizer={"name": "SGD", "learningRate": 0.1}, tolerance=2e-2),
    Specimen("mixed types", mixed),
    Specimen("mixed types, clipped", mixed, training={"regularisation": {"gradientClipNorm": 0.3}}),
    Specimen("complex weights", Spectral, deterministic=True),
    Specimen("complex weights, clipped", Spectral, training={"regularisation": {"gradientClipNorm": 0.3, "l1": 0.001}}),
    Specimen("rotary embedding", Rotary, read),
    Specimen("rotary embedding that grows", GrowingRotary, read, policies={"turns": Keep}, deterministic=True),
    Specimen("scalar and empty parameters", Scalars, deterministic=True),
    Specimen("sparse embeddings", Bag, read, optimizer=SPARSE, deterministic=True),
    Specimen("sparse embeddings in micro-batches", Bag, read, optimizer={**SPARSE, "name": "Adagrad"}, training={"microBatchSize": 3}),
    Specimen("complex128", complex128, refused="the model's turns is of type complex128, which cannot be saved; use one of float64"),
    Specimen("extra state", lambda: nn.Sequential(ExtraState(FEATURES, 3)), refused="the model's state has '0._extra_state' (get_extra"),
    Specimen("extra tensor", lambda: nn.Sequential(ExtraTensor(FEATURES, 3)), refused="the model's state has '0._extra_state' (get_extra"),
    Specimen("sparse buffer", graph, refused="the model's edges is sparse (torch.sparse_coo), which cannot be saved"),
    Specimen("lazy layer", lambda: nn.Sequential(nn.LazyLinear(3)), refused="the model's 0.weight has no shape yet"),
    Specimen("long name", lambda: nn.Sequential(Named("x" * 500)), refused="has a name of 509 characters, which is too long to be saved"),
)
