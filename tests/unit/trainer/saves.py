"""The shards of a save, as storage would hold them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import safetensors.torch
import torch

from trainingjob_api.contract.channel import Snapshot
from trainingjob_api.contract.messages import SaveId
from trainingjob_api.storage.layout import Label, shard_name
from trainingjob_api.storage.manifest import Manifest, ShardFile, parse_position, parse_slices


@dataclass
class Save:
    """The shards of one save, as storage holds them."""

    world: int
    shards: dict[int, tuple[bytes, Snapshot]] = field(default_factory=dict)

    def whole(self) -> bool:
        return len(self.shards) == self.world

    def manifest(self, save: SaveId) -> Manifest:
        snapshots = [snapshot for _, (_, snapshot) in sorted(self.shards.items())]
        return Manifest(
            save=str(Label.of(save)),
            step=save.step,
            attempt=save.generation.attempt,
            epoch=save.generation.epoch,
            world=self.world,
            shards=tuple(
                ShardFile(name=shard_name(rank), bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
                for rank, (data, _) in sorted(self.shards.items())
            ),
            tensors=tuple(piece for snapshot in snapshots for piece in parse_slices(snapshot.entries)),
            position=parse_position(snapshots[0].position),
        )

    def tensors(self, save: SaveId) -> dict[str, torch.Tensor]:
        """Read with the safetensors library, put together by the manifest."""
        files = {shard_name(rank): safetensors.torch.load(data) for rank, (data, _) in self.shards.items()}
        whole: dict[str, torch.Tensor] = {}
        for piece in self.manifest(save).tensors:
            data = files[piece.shard][piece.name]
            flat = whole.setdefault(piece.name, torch.empty(piece.global_shape, dtype=data.dtype))
            flat.view(-1)[piece.start : piece.stop] = data
        return whole
