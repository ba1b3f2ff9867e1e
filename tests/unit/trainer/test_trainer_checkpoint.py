"""Shards are what the safetensors library reads, restore at any world size, and are refused by name when they do not fit."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from local_job import until
from trainingjob_agent.arena import ArenaOwner
from trainingjob_api.contract.messages import GenerationId, Restore, SaveId
from trainingjob_api.spec.training import Optimizer
from trainingjob_api.storage.front import parse_front
from trainingjob_api.storage.layout import shard_name
from trainingjob_api.storage.manifest import BadManifest, Manifest, Position, ShardFile, TensorSlice
from trainingjob_storage.digests import shard_digest
from trainingjob_storage.fronts import front_of, read_slices
from trainingjob_storage.journal import Journal
from trainingjob_storage.store import open_store
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.checkpoint.flat import listed
from trainingjob_trainer.checkpoint.shard import RestoreError, plan, restore, write
from trainingjob_trainer.checkpoint.shares import shares
from trainingjob_trainer.checkpoint.state import TrainingState, copy_tensors, materialise
from trainingjob_trainer.learning.optimizer import build_optimizer


def mixed_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "model/weight": torch.randn(7, 5, generator=generator),
        "model/transposed": torch.randn(4, 6, generator=generator).t(),
        "model/half": torch.randn(11, generator=generator).bfloat16(),
        "model/count": torch.tensor(41),
        "model/flags": torch.tensor([True, False, True]),
        "model/nothing": torch.zeros(0, 3),
        "optimizer/weight/exact": torch.randn(3, generator=generator, dtype=torch.float64),
    }


def save(tensors: dict[str, torch.Tensor], world: int, folder: Path) -> tuple[Manifest, dict[str, str]]:
    """What `world` ranks write, as files."""
    named = listed(tensors)
    files, shards = {}, []
    for rank in range(world):
        name = shard_name(rank)
        layout = plan(named, shares([each.extent for each in named], world, rank), name)
        memory = torch.full((layout.length + 64,), 255, dtype=torch.uint8)
        write(layout, named, memory)
        data = memory[: layout.length].numpy().tobytes()
        (folder / name).write_bytes(data)
        files[name] = str(folder / name)
        front = front_of(data)
        shards.append(ShardFile(name=name, bytes=len(data), blake3=shard_digest(data), front_bytes=front.bytes, front_blake3=front.blake3))
    manifest = Manifest(
        save="00000003-a1e1n1",
        step=3,
        attempt=1,
        epoch=1,
        world=world,
        shards=tuple(shards),
        position=Position(step=3),
    )
    return manifest, files


def slices_in(files: dict[str, str]) -> list[TensorSlice]:
    """What the shards list."""
    found: list[TensorSlice] = []
    for name, path in files.items():
        data = Path(path).read_bytes()
        found += parse_front(data[: front_of(data).bytes], name, len(data))
    return found


@pytest.mark.parametrize("world", [1, 2, 3, 50])
def test_a_save_restores_bit_for_bit_from_any_number_of_shards(tmp_path, world):
    tensors = mixed_tensors()
    manifest, files = save(tensors, world, tmp_path)
    target = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    restore(manifest, files, target)
    assert all(torch.equal(target[name], tensors[name]) for name in tensors)


def test_the_safetensors_library_reads_every_shard_and_finds_it_aligned(tmp_path):
    _, files = save(mixed_tensors(), 3, tmp_path)
    for piece in slices_in(files):
        loaded = safetensors.torch.load_file(files[piece.shard])[piece.name]
        assert len(loaded) == piece.elements()
        assert piece.begin % loaded.element_size() == 0
        wanted = mixed_tensors()[piece.name].reshape(-1)[piece.start : piece.stop]
        assert torch.equal(loaded, wanted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("model/weight"), "it has model/weight"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "it has no more"),
        (lambda tensors: tensors.update({"model/weight": torch.zeros(5, 7)}), "model/weight is F32 [7, 5] there and F32 [5, 7] here"),
        (lambda tensors: tensors.update({"model/half": torch.zeros(11).half()}), "model/half is BF16 [11] there and F16 [11] here"),
    ],
    ids=["surplus", "missing", "shape", "type"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path, change, says):
    manifest, files = save(mixed_tensors(), 2, tmp_path)
    target = mixed_tensors()
    change(target)
    with pytest.raises(RestoreError) as refusal:
        restore(manifest, files, target)
    assert says in str(refusal.value)


def test_a_checkpoint_with_a_hole_or_a_broken_shard_is_refused(tmp_path):
    manifest, files = save(mixed_tensors(), 2, tmp_path)
    slices = slices_in(files)
    (cut,) = (name for name, pieces in Counter(piece.name for piece in slices).items() if pieces == 2)
    rest = tuple(piece for piece in slices if (piece.name, piece.shard) != (cut, shard_name(1)))
    bare = tuple(shard.model_copy(update={"front_bytes": None, "front_blake3": None}) for shard in manifest.shards)
    for found in (rest, rest * 2):
        with pytest.raises(RestoreError, match=rf"{cut}\[\d.*\] is not there"):
            restore(manifest.model_copy(update={"tensors": found, "shards": bare}), files, mixed_tensors())
    for length in (40, 4):
        os.truncate(files[shard_name(1)], length)
        with pytest.raises(BadManifest, match=shard_name(1)):
            restore(manifest, files, mixed_tensors())


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Adagrad", "RMSprop", "Adam", "AdamW"])
def test_materialised_optimizer_state_changes_no_step(name):
    def trained(*, early: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        model = nn.Linear(4, 2)
        optimizer = build_optimizer(Optimizer(name=name, weight_decay=0.1), model)
        if early:
            before = model.weight.detach().clone()
            materialise(optimizer)
            assert torch.equal(before, model.weight)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(3, 4)).square().sum().backward()
            optimizer.step()
        return TrainingState(model, optimizer).tensors()

    late, early = trained(early=False), trained(early=True)
    assert late.keys() == early.keys()
    assert all(torch.equal(late[key], early[key]) for key in late)


def test_an_interrupted_change_leaves_no_state_to_be_used():
    model = nn.Linear(2, 2)
    state = TrainingState(model, build_optimizer(Optimizer(), model))
    assert state.summary() is None
    state.restart(attempt=1, seed=7)
    state.dirty = False
    assert state.summary() is not None

    def interrupted() -> None:
        with state.changing():
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert state.summary() is None


def test_tied_weights_and_buffers_that_are_not_saved():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    model.register_buffer("scratch", torch.zeros(2), persistent=False)
    state = TrainingState(model, build_optimizer(Optimizer(name="SGD"), model))
    names = set(state.tensors())
    assert "model/0.weight" in names
    assert names.isdisjoint({"model/1.weight", "model/scratch"})
    assert "model/2.running_mean" in names
    copy_tensors({name: torch.ones_like(tensor) for name, tensor in state.tensors().items()}, state.tensors())
    assert bool((model[1].weight == 1).all())


def test_several_threads_write_the_same_file_as_one():
    large = torch.randn(3 << 20)  # 12 MiB: it is cut
    tensors = mixed_tensors() | {"model/large": large, "model/turned": large.view(1024, -1).t()}
    tensors |= {f"model/small{number}": torch.full((5,), float(number)) for number in range(300)}
    named = listed(tensors)
    layout = plan(named, shares([each.extent for each in named], 1, 0), shard_name(0))
    alone, together = (torch.full((layout.length + 64,), 255, dtype=torch.uint8) for _ in range(2))
    write(layout, named, alone)
    with ThreadPoolExecutor(3) as copiers:
        write(layout, named, together, copiers)
    assert torch.equal(alone, together)


class Agent:
    """As much of the channel as a snapshot needs, over a real arena."""

    def __init__(self):
        self.owner = ArenaOwner("test")
        self.told = []

    def need_arena(self, size, buffers):
        self.lease = self.owner.lease(size, buffers)
        return self.lease.arena

    def poke(self):
        pass

    def wait(self, predicate):
        assert predicate()

    def free(self, buffer):
        return not self.told

    def occupy(self, buffer):
        pass

    def send(self, message):
        self.told.append(message)


def test_the_first_snapshot_finds_its_memory_touched():
    model = nn.Linear(2048, 2048)
    optimizer = build_optimizer(Optimizer(name="AdamW"), model)
    materialise(optimizer)
    agent = Agent()
    arena = SnapshotArena(agent, TrainingState(model, optimizer), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arena.snapshot(SaveId(generation=GenerationId(1, 1, 1), step=1), 0, 1, Position(step=1), lambda: False)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    (told,) = agent.told
    assert told.length > 48 << 20
    assert faults < told.length // 4096 // 10
    weight = safetensors.torch.load(bytes(agent.lease.view(told.buffer, told.length)))["model/weight"]
    assert torch.equal(weight, model.weight.detach().reshape(-1))
    agent.owner.close()


class CallsBack:
    """A lock that calls somebody right after it is released."""

    def __init__(self, released):
        self._lock, self._released = threading.Lock(), released

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        self._released()


def test_memory_wanted_at_the_moment_the_last_was_got_is_asked_for_by_one_thread():
    model = nn.Linear(4, 4)
    agent = Agent()
    arena = SnapshotArena(agent, TrainingState(model, build_optimizer(Optimizer(name="AdamW"), model)), 1)
    lend, askers = agent.need_arena, []

    def need_arena(size, buffers):
        askers.append(threading.current_thread())
        if askers[-1] is not askers[0]:
            askers[0].join(60)  # a second thread answers last
        return lend(size, buffers)

    def released():
        if askers == [threading.current_thread()] and not arena._growing:
            arena._want(1 << 20, 2)

    agent.need_arena, arena._wishing = need_arena, CallsBack(released)
    arena._want(1 << 19, 2)
    until("grown twice", lambda: len(askers) > 1 and arena.rests())
    assert len(askers) == len(set(askers)) == 2
    assert arena._buffers.bytes >= 1 << 20
    agent.owner.close()


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("written", ["slices_in_manifest", "slices_in_shards"])
def test_a_checkpoint_of_either_form_restores_bit_for_bit(written, tmp_path):
    """As releases have written them: first the manifest listed all slices, now each shard lists its own."""
    tensors = {
        "model/weight": torch.arange(15.0).view(3, 5) / 7,
        "model/half": torch.arange(11).bfloat16(),
        "model/count": torch.tensor(41),
        "model/flags": torch.tensor([True, False, True]),
        "optimizer/weight/exp_avg": torch.arange(15.0).view(3, 5) / -3,
    }
    shutil.copytree(GOLDEN / written, tmp_path / "job")
    store = open_store(f"file://{tmp_path}/job", None, None, {})
    journal = Journal(store, "uid", "default/digits", "build", False, lambda: 1000.5)
    manifest = journal.open_attempt(GenerationId(2, 1, 1), Restore()).manifest
    assert manifest is not None
    assert len(list(read_slices(store, manifest))) == 6
    files = {}
    for name, data in journal.read_checkpoint(manifest):
        files[name] = str(tmp_path / name)
        (tmp_path / name).write_bytes(data)
    target = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    restore(manifest, files, target)
    assert all(torch.equal(target[name], tensors[name]) for name in tensors)
