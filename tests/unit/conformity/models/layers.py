"""Attention, recurrent and convolutional networks, tied and frozen weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unit.conformity.specimen import CLASSES, FEATURES, LENGTH, MOMENTUM, WORDS, Specimen, head, read

WIDTH = 12


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), head(16))


class Attention(nn.Module):
    """A block of a transformer; later tokens are hidden by a mask of -inf that is made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH) / 8)
        self.attention = nn.MultiheadAttention(WIDTH, 3, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.words(tokens) + self.places
        mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
        found = self.norm(found + self.attention(found, found, found, attn_mask=mask, need_weights=False)[0])
        return self.head(found[:, -1])


class Encoder(nn.Module):
    """torch's own transformer layer, in training mode, without dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, dropout=0.0, batch_first=True)
        self.head = head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.words(tokens)).mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.recurrent = kind(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = head(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.recurrent(self.words(tokens))[0][:, -1])


class Tied(nn.Module):
    """One matrix embeds the tokens and scores them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.out = nn.Linear(WIDTH, WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.words(tokens).mean(dim=1))[:, :CLASSES]


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 4, 3, padding=1), nn.GELU(), nn.MaxPool1d(2), nn.Flatten(), head(4 * FEATURES // 2)
    )


def channels_last() -> nn.Module:
    picture = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), head(4 * FEATURES))
    return nn.Sequential(nn.Unflatten(1, (1, 2, FEATURES // 2)), picture.to(memory_format=torch.channels_last))


def frozen() -> nn.Module:
    """The usual fine-tuning: a body that stands still, a new head."""
    body = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh()).requires_grad_(False)
    return nn.Sequential(body, head(16))


class LowRank(nn.Module):
    """A frozen weight with a trained correction of low rank."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, FEATURES) / 4, requires_grad=False)
        self.down = nn.Parameter(torch.randn(2, FEATURES) / 4)
        self.up = nn.Parameter(torch.zeros(16, 2))
        self.head = head(16)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((inputs @ (self.weight + self.up @ self.down).T).relu())


SPECIMENS = (
    Specimen("perceptron", perceptron, deterministic=True),
    Specimen("perceptron by SGD", perceptron, optimizer={"name": "SGD", "learningRate": 0.1, "weightDecay": 0.1}),
    Specimen("perceptron in micro-batches", perceptron, training={"microBatchSize": 3}, deterministic=True),
    Specimen("attention", Attention, read, optimizer=MOMENTUM),
    Specimen("transformer layer", Encoder, read, optimizer=MOMENTUM),
    Specimen("LSTM", lambda: Recurrent(nn.LSTM), read),
    Specimen("GRU", lambda: Recurrent(nn.GRU), read),
    Specimen("tied weights", Tied, read),
    Specimen("convolution", convolution),
    Specimen("channels last", channels_last),
    Specimen("frozen body", frozen),
    Specimen("low rank", LowRank),
)
