"""Models with buffers that forward passes change, and losses that look at all workers' samples."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.buffers import Keep, Mean, Rank0
from trainingjob_trainer.learning.loss import LossSum, cross_entropy_sum
from unit.conformity.specimen import FEATURES, MOMENTUM, WORDS, Specimen, head, read

WIDTH = 8
BY_SGD = {"name": "SGD", "learningRate": 0.05}


class Masked(nn.Module):
    """Causal attention with the mask as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(WORDS, WIDTH), head(WIDTH)
        self.register_buffer("mask", torch.full((6, 6), float("-inf")).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        words = self.embedding(tokens)
        weights = (words @ words.transpose(1, 2) / WIDTH**0.5 + self.mask).softmax(dim=2)
        return self.head((weights @ words).mean(dim=1))


class Hidden(nn.Module):
    """A perceptron whose subclasses do something to the hidden features."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, WIDTH), head(WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.change(self.body(inputs).tanh()))

    def change(self, features: Tensor) -> Tensor:
        return features


class Queue(Hidden):
    """Each pass overwrites four of the last samples' features, of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", functional.normalize(torch.randn(8, WIDTH), dim=1))
        self.register_buffer("place", torch.zeros(1, dtype=torch.int64))

    def change(self, features: Tensor) -> Tensor:
        known = self.queue.clone()
        if self.training:
            begin = int(self.place)
            self.queue[begin : begin + 4] = functional.normalize(features.detach()[:4], dim=1)
            self.place[0] = (begin + 4) % 8
        return features + (features @ known.T).softmax(dim=1) @ known


class Codebook(Hidden):
    """Vector quantization whose codes follow the features by running sums, of this part's samples or of all workers'."""

    def __init__(self, *, together: bool) -> None:
        super().__init__()
        self.together = together
        self.register_buffer("codes", torch.randn(4, WIDTH))
        self.register_buffer("counts", torch.ones(4))
        self.register_buffer("sums", self.codes.clone())

    def change(self, features: Tensor) -> Tensor:
        chosen = torch.cdist(features, self.codes).argmin(dim=1)
        quantized = self.codes[chosen]
        if self.training:
            self.follow(features.detach(), functional.one_hot(chosen, 4).float())
        return features + (quantized - features).detach()

    def follow(self, features: Tensor, chosen: Tensor) -> None:
        counts, sums = chosen.sum(dim=0), chosen.T @ features
        if self.together and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.counts.data.mul_(0.9).add_(counts, alpha=0.1)
        self.sums.data.mul_(0.9).add_(sums, alpha=0.1)
        if self.together:
            self.codes.data.copy_(self.sums / self.counts[:, None])


class Shadow(Hidden):
    """A running average of the weights, as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", self.body.weight.detach().clone())

    def change(self, features: Tensor) -> Tensor:
        if self.training:
            self.average = 0.9 * self.average + 0.1 * self.body.weight.detach()
        return features


class Centered(Hidden):
    """Subtracts a running mean, put into the buffer's place as a new tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(WIDTH))

    def change(self, features: Tensor) -> Tensor:
        centered = features - self.center
        if self.training:
            self.center = 0.9 * self.center + 0.1 * features.detach().mean(dim=0)
        return centered


class Counting(Hidden):
    """Counts its passes, and has a cache that is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def change(self, features: Tensor) -> Tensor:
        self.passes += self.training
        self.cache.fill_(1 + float(features.detach().sum()))
        return features / (1 + 0.01 * self.passes)


class Frozen(nn.Module):
    """Batch normalization that stays in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(FEATURES, WIDTH), nn.BatchNorm1d(WIDTH), head(WIDTH)
        self.norm.running_mean.normal_()
        self.train()

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.norm(self.body(inputs)).tanh())


def with_norm(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), norm, nn.Tanh(), head(WIDTH))


def synchronized() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(with_norm(nn.BatchNorm1d(WIDTH)))


def channels() -> nn.Module:
    """Synchronized normalization of (samples, channels, places) without weights, and by the mean over all batches."""
    norm = nn.SyncBatchNorm(4, affine=False, momentum=None)
    return nn.Sequential(nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 4, 3, padding=1), norm, nn.Flatten(), head(4 * FEATURES))


def tracked() -> nn.Module:
    norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
    return nn.Sequential(nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 4, 3, padding=1), norm, nn.Flatten(), head(4 * FEATURES))


def spectral() -> nn.Module:
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(FEATURES, WIDTH)), nn.Tanh(), spectral_norm(head(WIDTH)))


def everybodys(rows: Tensor) -> tuple[Tensor, int]:
    """All workers' rows, in order, and where this worker's begin. The shares' sizes differ: they travel padded."""
    if not dist.is_initialized():
        return rows, 0
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)]))
    lengths = [int(size) for size in sizes]
    padded = functional.pad(rows, (0, 0, 0, max(lengths) - len(rows)))
    parts = differentiable.all_gather(padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)]), sum(lengths[: dist.get_rank()])


def contrastive(model: nn.Module, batch: Batch) -> LossSum:
    """Each sample's own class, and that samples of one class are alike among all of the global batch."""
    outputs, targets = model(batch["inputs"]), batch["targets"]
    every, begin = everybodys(outputs)
    classes, _ = everybodys(targets[:, None].float())
    here = torch.arange(begin, begin + len(outputs))
    alike = (outputs @ every.T).index_put((torch.arange(len(here)), here), torch.tensor(-9.0)).log_softmax(dim=1)
    same = (targets[:, None] == classes[:, 0].long()[None, :]).float()
    total, weight = cross_entropy_sum(outputs, targets)
    return total - (alike * same).sum() / len(every), weight


SPECIMENS = (
    Specimen("mask of infinities", Masked, read, optimizer=MOMENTUM, deterministic=True),
    Specimen("queue, the first worker's", Queue, policies={"queue": Rank0}, coupled=True, deterministic=True),
    Specimen("queue of which nothing is said", Queue, late=True, refused="forward changes the buffer 'queue' of Queue"),
    Specimen("codebook, averaged", lambda: Codebook(together=False), policies={"counts": Mean, "sums": Mean}, coupled=True),
    Specimen("codebook of all samples", lambda: Codebook(together=True), policies={"*": Rank0}, optimizer=BY_SGD),
    Specimen("codebook of which nothing is said", lambda: Codebook(together=True), late=True, refused="forward changes the buffer 'codes'"),
    Specimen("average of weights", Shadow, policies={"average": Rank0}, deterministic=True),
    Specimen("running mean", Centered, policies={"center": Mean}, deterministic=True),
    Specimen("counter and cache", Counting, policies={"cache": Keep}, deterministic=True),
    Specimen("frozen batch norm", Frozen, deterministic=True, brief=True),
    Specimen("synchronized batch norm", synchronized, optimizer=MOMENTUM),
    Specimen("synchronized batch norm of channels", channels, optimizer=MOMENTUM, brief=True),
    Specimen("synchronized batch norm, deterministic", synchronized, training={"reduction": "Deterministic"}, refused="SyncBatchNorm"),
    Specimen("instance norm with statistics", tracked, optimizer=MOMENTUM, brief=True),
    Specimen("spectral norm, both ways", spectral, deterministic=True, brief=True),
    Specimen("contrastive loss", Hidden, contrastive),
)
