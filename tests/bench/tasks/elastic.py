"""The peer of the shrink figure: the same model under stock DDP, as torchrun runs it. It saves and restores nothing, which favours it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from tasks.wide import build, data
from torch import nn

BATCH = 32


def main(folder: Path) -> None:
    """Step until killed; after each step note its number and the time."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(build())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs, targets = data()
    notes = (folder / f"{os.environ['TORCHELASTIC_RESTART_COUNT']}-{dist.get_rank()}.{os.getpid()}").open("w", buffering=1)
    generator = torch.Generator().manual_seed(dist.get_rank())
    for step in range(10**9):
        ids = torch.randint(len(inputs), (BATCH,), generator=generator)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs[ids]), targets[ids]).backward()
        optimizer.step()
        notes.write(f"{step} {time.monotonic_ns()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
