"""Layers that normalize, and weights that are normalized."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations

from unit.conformity.specimen import FEATURES, MOMENTUM, Specimen, head

WIDTH = 16


def with_norm(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), norm, nn.ReLU(), head(WIDTH))


def with_channels(norm: nn.Module) -> nn.Module:
    """The norm sees (samples, 4 channels, 8 places)."""
    return nn.Sequential(nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 4, 3, padding=1), norm, nn.Flatten(), head(4 * FEATURES))


def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(FEATURES, WIDTH)), nn.ReLU(), head(WIDTH))


def orthogonal() -> nn.Module:
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(FEATURES, FEATURES)), nn.ReLU(), head(FEATURES))


SPECIMENS = (
    Specimen("batch norm", lambda: with_norm(nn.BatchNorm1d(WIDTH)), optimizer=MOMENTUM, coupled=True, deterministic=True),
    Specimen("layer norm", lambda: with_norm(nn.LayerNorm(WIDTH))),
    Specimen("group norm", lambda: with_norm(nn.GroupNorm(4, WIDTH))),
    Specimen("RMS norm", lambda: with_norm(nn.RMSNorm(WIDTH))),
    Specimen("instance norm", lambda: with_channels(nn.InstanceNorm1d(4, affine=True)), optimizer=MOMENTUM),
    Specimen("weight norm", weight_norm),
    Specimen("orthogonal weights", orthogonal),
)
