"""The shards of a save, as storage would hold them."""

from __future__ import annotations

from dataclasses import dataclass, field

import safetensors.torch
import torch

from trainingjob_api.contract.channel import Snapshot
from trainingjob_api.contract.messages import SaveId
from trainingjob_api.storage.front import parse_front
from trainingjob_api.storage.layout import Label, shard_name
from trainingjob_api.storage.manifest import Manifest, ShardFile, TensorSlice, parse_position
from trainingjob_storage.digests import shard_digest
from trainingjob_storage.fronts import front_of


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
                ShardFile(
                    name=shard_name(rank), bytes=len(data), blake3=shard_digest(data), front_bytes=front.bytes, front_blake3=front.blake3
                )
                for rank, (data, _) in sorted(self.shards.items())
                for front in [front_of(data)]
            ),
            position=parse_position(snapshots[0].position),
        )

    def slices(self) -> list[TensorSlice]:
        """What the shards list."""
        shards = sorted(self.shards.items())
        return [piece for rank, (data, _) in shards for piece in parse_front(data[: front_of(data).bytes], shard_name(rank), len(data))]

    def tensors(self, save: SaveId) -> dict[str, torch.Tensor]:
        """Read with the safetensors library, put together by the manifest."""
        files = {shard_name(rank): safetensors.torch.load(data) for rank, (data, _) in self.shards.items()}
        whole: dict[str, torch.Tensor] = {}
        for piece in self.slices():
            data = files[piece.shard][piece.name]
            flat = whole.setdefault(piece.name, torch.empty(piece.global_shape, dtype=data.dtype))
            flat.view(-1)[piece.start : piece.stop] = data
        return whole
