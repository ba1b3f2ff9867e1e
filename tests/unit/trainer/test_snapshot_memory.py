"""Snapshot buffers are as large as a rank's share of the state; they grow beside the steps when fewer ranks share it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.contract.channel import Arena
from trainingjob_api.contract.messages import Stage
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.storage.layout import shard_name
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.checkpoint.flat import listed
from trainingjob_trainer.checkpoint.shard import plan
from trainingjob_trainer.checkpoint.shares import shares
from unit.trainer.conftest import make_spec
from unit.trainer.hub import Hub


@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    kinds=st.lists(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]), min_size=1, max_size=5),
    world=st.integers(1, 40),
)
def test_no_ranks_shard_is_larger_than_a_buffer(sizes, kinds, world) -> None:
    tensors = {f"model/{number}": torch.zeros(size, dtype=kinds[number % len(kinds)]) for number, size in enumerate(sizes)}
    named = listed(tensors)
    arena = SnapshotArena.__new__(SnapshotArena)
    whole = plan(named, shares([each.extent for each in named], 1, 0), shard_name(0))
    arena._header, arena._total = len(whole.header), whole.length - len(whole.header)
    for rank in range(world):
        assert plan(named, shares([each.extent for each in named], world, rank), shard_name(rank)).length <= arena.share_bytes(world)


def state_bytes(hub: Hub) -> int:
    return sum(tensor.nbytes for tensor in hub.final().values())


def test_the_buffers_of_three_ranks_hold_a_third_each_and_grow_when_one_is_lost_for_good(make_hub):
    hub = make_hub(make_spec({"slow": 0.001, "width": 512}, {"everySteps": 10}, steps=4000), 3, wait=False)
    hub.paused = True
    hub.start()
    hub.wait_all_idle()
    hub.paused = False
    hub.propose()
    hub.wait(lambda: bool(hub.committed), "a checkpoint of three")
    whole = state_bytes(hub)
    assert [need.buffers for need in hub.trainees[0].needs] == [2]
    assert whole / 3 <= hub.trainees[0].needs[0].bytes <= whole / 3 + 16384
    before = hub.committed[-1]
    hub.kill(2)
    hub.wait(lambda: hub.trainees[2].gone, "the fault fired")
    hub.wait(lambda: len(hub.saves[hub.committed[-1]].shards) == 2 and hub.committed[-1].step > before.step, "a checkpoint of two")
    assert [len(hub.trainees[slot].needs) for slot in (0, 1)] == [2, 2]
    assert whole / 2 <= hub.trainees[0].needs[1].bytes <= whole / 2 + 16384
    hub.close()


def test_steps_do_not_wait_for_memory_and_a_save_that_is_due_meanwhile_is_made_up(make_hub):
    hub = make_hub(make_spec({"slow": 0.001}, {"everySteps": 10}, steps=4000), 1)
    hub.lends = 1  # what is asked for at the start, for the three workers of the manifest
    hub.start()
    hub.wait(lambda: len(hub.trainees[0].needs) == 2, "one rank has it all: more memory is asked for")
    stands = hub.trainees[0].stamp.read().step or 0
    hub.wait_step(0, stands + 30)
    assert not hub.committed, "there is no room"
    hub.lend()
    hub.wait(lambda: bool(hub.committed), "made up")
    hub.close()


def test_the_first_step_of_a_smaller_group_does_not_wait_for_memory(make_hub):
    """Nor does a save that is due right after it."""
    hub = make_hub(make_spec({"slow": 0.001}, {"everySteps": 1}, steps=4000), 1)
    hub.lends = 1
    hub.start()
    hub.wait_step(0, 30)
    assert not hub.committed, "the buffers of a third do not hold the whole"
    hub.lend()
    hub.wait(lambda: bool(hub.committed), "made up")
    hub.close()


@pytest.mark.parametrize("world", [1, 2])
def test_a_generation_that_only_saves_waits_for_memory(make_hub, world):
    hub = make_hub(make_spec(steps=4000), world)
    hub.start()
    hub.wait_step(0, 3)
    hub.paused = True
    hub.tell(regroup=True)
    hub.wait_all_idle()
    hub.tell(stage=Stage.OVER)
    step = hub.trainees[0].standing.state.step
    hub.propose(purpose="Save")
    hub.wait(lambda: all(trainee.standing.phase == "Formed" for trainee in hub.trainees.values()), "formed")
    hub.tell(stage=Stage.RUNNING)
    hub.wait(lambda: bool(hub.committed) and hub.committed[-1].step == step, "saved")
    hub.close()


def test_a_process_that_cannot_map_its_memory_ends_and_says_why(make_hub):
    # Its thread ended without a word: nothing was ever saved again.
    hub = make_hub(make_spec({"slow": 0.001}, {"everySteps": 10}, steps=4000), 1)
    hub.lends = 1
    hub.start()
    trainee = hub.trainees[0]
    hub.wait(lambda: len(trainee.needs) == 2, "one rank has it all: more memory is asked for")
    need = trainee.needs[1]
    trainee.say(Arena(path="/proc/self/fd/no-such", offsets=(0, need.bytes), bytes=need.bytes, first=2))
    hub.wait(lambda: trainee.gone, "it has ended")
    assert hub.zygote.ended(trainee.pid) == ExitCode.CRASHED
    assert "snapshot memory cannot be mapped" in hub.log(0, 0)
    assert "/proc/self/fd/no-such" in hub.log(0, 0)
    hub.close()
