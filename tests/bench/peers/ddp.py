"""A plain training script, tuned as its users tune it: DistributedDataParallel under torchrun, checkpoints by DCP's async_save.

The stager is made once and used for all saves, saves go through a process group of their own, and the next save waits for the one before.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.nn.parallel import DistributedDataParallel

from bench.training.workload import OPTIMIZER, Marks, network, samples


class Saver:
    """Checkpoints of a model and its optimizer."""

    def __init__(self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, kind: AsyncCheckpointerType, writer=None) -> None:
        self._writer = writer
        self._folder, self._model, self._optimizer, self._kind = folder, model, optimizer, kind
        shared = kind is AsyncCheckpointerType.PROCESS
        self._stager = DefaultStager(
            StagingOptions(use_pinned_memory=False, use_shared_memory=shared, use_async_staging=False, use_non_blocking_copy=False)
        )
        self._group = dist.new_group(backend="gloo")
        self._under_way = None

    def save(self, step: int) -> None:
        """Returns once the state may change again."""
        self.wait()
        state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        self._under_way = dcp.async_save(
            state,
            checkpoint_id=str(self._folder / str(step)),
            storage_writer=None if self._writer is None else self._writer(str(self._folder / str(step))),
            process_group=self._group,
            async_stager=self._stager,
            async_checkpointer_type=self._kind,
        )

    def wait(self) -> None:
        """Until the newest is in storage."""
        if self._under_way is not None:
            self._under_way.result()

    def rests(self) -> bool:
        """Nothing is on its way to storage."""
        return self._under_way is None or self._under_way.done()

    def close(self) -> None:
        self.wait()
        self._stager.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("width", "layers", "batch", "samples", "steps", "save-every"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("marks", "storage"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("endpoint", "bucket"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--saver", type=lambda word: AsyncCheckpointerType[word], default=AsyncCheckpointerType.THREAD)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    inputs, targets = samples(chosen.samples, chosen.width)
    model = network(chosen.width, chosen.layers)
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER)
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True) if world > 1 else model
    writer = None
    if chosen.endpoint:
        from bench.peers.s3 import S3, S3Writer  # only here: its client takes a moment to import

        writer = partial(S3Writer, files=S3(chosen.endpoint, chosen.bucket))
    saver, marks, share = Saver(chosen.storage, model, optimizer, chosen.saver, writer), Marks(chosen.marks), chosen.batch // world
    for step in range(chosen.steps):
        marks.put("begin", step)
        if saver.rests():
            marks.put("quiet", step)
        order = torch.randperm(chosen.samples, generator=torch.Generator().manual_seed(step))
        ids = order[rank * share : (rank + 1) * share]
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(parallel(inputs[ids]), targets[ids]).backward()
        optimizer.step()
        if (step + 1) % chosen.save_every == 0:
            with marks.save(step + 1):
                saver.save(step + 1)
    saver.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
