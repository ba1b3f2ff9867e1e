"""A plain training script that torchrun restarts whole when a process is lost: DDP, and a small checkpoint file that it goes on from."""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bench.training.workload import OPTIMIZER, Loaders, Marks, network, samples


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("width", "layers", "batch", "samples", "save-every"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--loaders", type=int, default=0)
    for name in ("marks", "storage"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(1)
    inputs, targets = samples(chosen.samples, chosen.width)
    loaders = Loaders(chosen.loaders, inputs, targets) if chosen.loaders else None
    dist.init_process_group("gloo")
    rank, world, group = dist.get_rank(), dist.get_world_size(), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    torch.manual_seed(0)
    model = network(chosen.width, chosen.layers)
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER)
    file, first = chosen.storage / "checkpoint.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
    marks, share = Marks(chosen.marks), chosen.batch // world
    for step in itertools.count(first):
        marks.put("begin", step, group)
        order = torch.randperm(chosen.samples, generator=torch.Generator().manual_seed(step))
        ids = order[rank * share : (rank + 1) * share]
        optimizer.zero_grad(set_to_none=False)
        rows, classes = loaders.fetch(ids) if loaders else (inputs[ids], targets[ids])
        nn.functional.cross_entropy(parallel(rows), classes).backward()
        optimizer.step()
        if rank == 0 and (step + 1) % chosen.save_every == 0:
            unfinished = file.with_suffix(".unfinished")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, unfinished)
            unfinished.replace(file)


if __name__ == "__main__":
    main()
