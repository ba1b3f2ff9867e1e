"""A plain PyTorch script: stock DistributedDataParallel, nothing of this product in it. It runs under torchrun just as well.

It is restarted whole whenever a worker is lost, so it keeps checkpoints of its own and goes on from the newest.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def data():
    """Training and test images; every fifth is for the test."""
    digits = load_digits()
    inputs = torch.from_numpy(digits.data).float() / 16
    targets = torch.from_numpy(digits.target).long()
    test = torch.arange(len(inputs)) % 5 == 0
    return TensorDataset(inputs[~test], targets[~test]), TensorDataset(inputs[test], targets[test])


def save(file, model, optimizer, epoch):
    """Under another name first: a script that dies here leaves the old checkpoint whole."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    save_file(tensors | {"epoch": torch.tensor(epoch)}, unfinished)
    unfinished.replace(file)


def restore(file, model, optimizer):
    """The number of epochs already done."""
    if not file.exists():
        return 0
    tensors = load_file(file)
    model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")})
    state = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(tensors["epoch"])


def accuracy(model, test):
    inputs, targets = test.tensors
    with torch.no_grad():
        return (model(inputs).argmax(dim=1) == targets).double().mean().item()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--checkpoints", type=lambda text: Path(text).expanduser(), required=True)
    chosen = arguments.parse_args()

    dist.init_process_group("gloo")  # finds MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE in the environment
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(7)
    train, test = data()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    file = chosen.checkpoints / "checkpoint.safetensors"
    begin = restore(file, model, optimizer)
    if rank == 0:
        print(f"{world} processes, starting after epoch {begin}", flush=True)

    parallel = DistributedDataParallel(model)
    sampler = DistributedSampler(train, seed=7)
    loader = DataLoader(train, batch_size=max(1, 96 // world), sampler=sampler)
    for epoch in range(begin, chosen.epochs):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(parallel(inputs), targets).backward()
            optimizer.step()
        if rank == 0:
            save(file, model, optimizer, epoch + 1)
            print(f"epoch {epoch + 1} of {chosen.epochs}: test accuracy {accuracy(model, test):.4f}", flush=True)
        dist.barrier()  # nobody runs ahead of the checkpoint
    if rank == 0:
        print(f"accuracy {accuracy(model, test):.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
