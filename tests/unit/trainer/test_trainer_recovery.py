"""Real training processes over gloo, lost and replaced: the result is that of a run in which nothing happened."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest
import torch

from trainingjob_api.contract.messages import Phase, Source, Stage
from unit.trainer.conftest import make_spec
from unit.trainer.hub import Hub

HARD = {"dropout": 0.3, "normalise": True, "slow": 0.004}
"""What makes redoing a step go wrong if anything is forgotten."""
STEPS = 24


def hard_spec(**training):
    return make_spec(HARD, {"everySteps": 8}, steps=STEPS, microBatchSize=4, **training)


def differing(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


@pytest.fixture(scope="module")
def straight(zygote) -> Hub:
    """A run of 3 ranks in which nothing happens."""
    hub = Hub(zygote, hard_spec())
    hub.start()
    hub.wait_done()
    hub.close()
    return hub


def test_a_job_trains_saves_evaluates_and_exports(straight):
    assert [save.step for save in straight.committed] == [8, 16, 24]
    assert len(straight.exported) == 1
    _, export = straight.exported[0]
    assert 0 < export.result["accuracy"] <= 1
    assert straight.trainees[0].paces[-1].step == STEPS
    assert len(straight.generations) == 1


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_replaced_in_its_slot_leaves_no_trace_in_the_result(make_hub, straight, victim):
    hub = make_hub(hard_spec())
    hub.start()
    hub.wait_step(victim, 5)
    hub.kill(victim)
    hub.wait(lambda: hub.trainees[victim].gone, "the fault fired")
    survivors = {slot: trainee.pid for slot, trainee in hub.trainees.items() if slot != victim}
    hub.start(victim)
    hub.wait_done()
    assert len(hub.generations) == 2
    assert hub.generations[1].source.kind == "Peer"
    assert {slot: trainee.pid for slot, trainee in hub.trainees.items() if slot != victim} == survivors
    assert differing(hub.final(), straight.final()) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_at_random_moments_leave_no_trace_in_the_result(make_hub, straight, seed):
    chance = random.Random(seed)
    hub = make_hub(hard_spec())
    hub.start()
    hub.wait_step(0, 1)
    fired = 0
    while fired < 3:
        threading.Event().wait(chance.uniform(0.0, 0.06))  # any moment: forming, restoring, stepping, saving
        victim = chance.randrange(3)
        if hub.orders.done or hub.trainees[victim].standing is None or hub.trainees[victim].standing.phase is Phase.FINISHING:
            break
        hub.kill(victim)
        hub.wait(lambda victim=victim: hub.trainees[victim].gone, "the fault fired")
        fired += 1
        hub.start(victim)
    hub.wait_done()
    assert fired >= 1
    assert differing(hub.final(), straight.final()) == []


def test_a_hung_peer_does_not_hold_the_survivors_when_the_generation_is_over(make_hub, straight):
    hub = make_hub(hard_spec())
    hub.start()
    hub.wait_step(2, 4)
    os.kill(hub.trainees[2].pid, signal.SIGSTOP)  # its sockets stay open
    stamps = [hub.trainees[slot].stamp for slot in (0, 1)]
    hub.wait_for(lambda: all(stamp.read().entered > stamp.read().left for stamp in stamps), "the survivors wait in a collective")
    hub.paused = True
    hub.tell(stage=Stage.OVER)
    hub.wait(lambda: all(hub.trainees[slot].idle() for slot in (0, 1)), "free", timeout=5)
    hub.kill(2)
    hub.wait(lambda: hub.trainees[2].gone, "the fault fired")
    hub.paused = False
    hub.start(2)
    hub.wait_done()
    assert differing(hub.final(), straight.final()) == []


def test_a_peer_lost_while_the_group_is_formed_costs_nobody_a_process(make_hub, straight):
    hub = make_hub(hard_spec())
    hub.paused = True
    hub.start()
    hub.wait_all_idle()
    os.kill(hub.trainees[2].pid, signal.SIGSTOP)
    hub.propose()
    hub.wait(lambda: len(hub.store_keys()) >= 2, "the others have published their addresses")
    hub.kill(2)
    hub.wait(lambda: hub.trainees[2].gone, "the fault fired")
    hub.tell(stage=Stage.OVER)
    hub.paused = False
    hub.start(2)
    hub.wait(lambda: hub.orders.stage is Stage.RUNNING, "the next group is formed beside the abandoned one", timeout=10)
    hub.wait_done()
    assert differing(hub.final(), straight.final()) == []


def test_survivors_go_on_alone_and_the_newcomer_joins_at_a_step_boundary(make_hub):
    hub = make_hub(make_spec({"slow": 0.004}, steps=60), wait=False)
    hub.start()
    hub.wait(lambda: len(hub.generations[-1].seats) == 3 if hub.generations else False, "all three")
    hub.wait_step(1, 5)
    hub.kill(2)
    hub.wait(lambda: len(hub.generations[-1].seats) == 2, "the survivors regroup")
    alone = hub.generations[-1].id
    hub.start(2)
    hub.wait(lambda: len(hub.generations[-1].seats) == 3 and hub.generations[-1].id > alone, "the newcomer is in")
    source = hub.generations[-1].source
    hub.wait_done()
    assert source.kind == "Peer"
    assert f"generation {alone.label()}: left in order after step {source.state.step}" in hub.log(0)
    assert hub.trainees[2].standings[-1].phase is Phase.FINISHING


def test_a_rollback_in_place_equals_a_run_that_never_went_further(make_hub, straight):
    hub = make_hub(hard_spec())
    hub.start()
    hub.wait(lambda: bool(hub.committed), "a checkpoint")
    target = hub.committed[0]
    hub.wait_step(0, target.step + 3)
    hub.rollback(target)
    hub.wait_done()
    assert {save.generation.attempt for save in hub.committed} == {1, 2}
    assert len(hub.pids) == 3
    assert differing(hub.final(), straight.final()) == []


def test_a_rollback_to_the_beginning_makes_the_first_weights_again(make_hub, straight):
    hub = make_hub(hard_spec())
    hub.start()
    hub.wait_step(0, 3)
    hub.rollback(None)
    hub.wait_done()
    assert differing(hub.final(), straight.final()) == []


def test_deterministic_bits_do_not_depend_on_the_world_size_and_who_is_ahead_is_copied(make_hub):
    spec = make_spec({"dropout": 0.3, "normalise": True}, {"everySteps": 3}, steps=9, reduction="Deterministic", lanes=5)
    finals = []
    for world in (1, 2, 3, 6):
        hub = make_hub(spec, world)
        hub.start()
        hub.wait_done()
        finals.append(hub.final())
    assert all(differing(final, finals[0]) == [] for final in finals[1:])

    hub = make_hub(spec, 3)
    hub.paused = True
    hub.start()
    hub.wait_all_idle()
    hub.propose(source=Source(kind="Storage"))
    hub.tell(regroup=True)
    run_one(hub, [0, 1, 2])
    assert [hub.trainees[slot].standing.state.step for slot in range(3)] == [1, 1, 1]
    # Injected, since it never happens by itself here: one survivor has finished a step that the others have not.
    hub.propose(members=[hub.trainees[1]])
    hub.tell(regroup=True)
    run_one(hub, [1])
    assert [hub.trainees[slot].standing.state.step for slot in range(3)] == [1, 2, 1]
    hub.paused = False
    hub.start(0)  # and one has lost all
    hub.wait_done()
    assert hub.generations[-1].source.rank == 1
    assert differing(hub.final(), finals[0]) == []


def run_one(hub: Hub, slots: list[int]) -> None:
    """Let the proposed generation run; regroup is ordered already, so it takes one step."""
    generation = hub.generations[-1].id
    seated = [hub.trainees[slot] for slot in slots]
    hub.wait(lambda: all(each.standing.phase is Phase.FORMED and each.standing.generation == generation for each in seated), "formed")
    hub.tell(stage=Stage.RUNNING)
    hub.wait(lambda: all(each.idle() for each in seated), "idle again")
    hub.tell(stage=Stage.OVER)


def test_a_checkpoint_restores_at_another_world_size(make_hub, straight):
    hub = make_hub(hard_spec(), 2)
    hub.paused = True
    hub.n = 100
    hub.saves, hub.restore_from = dict(straight.saves), straight.committed[1]
    hub.start()
    hub.wait_all_idle()
    hub.propose("Save")
    hub.paused = False
    hub.wait(lambda: len(hub.committed) == 1, "saved by two")
    assert hub.saves[hub.committed[0]].world == 2
    assert differing(hub.final(), straight.at(16)) == []
    hub.wait_done()
    assert hub.committed[-1].step == STEPS


def test_a_stop_saves_where_it_stands_and_leaves(make_hub):
    hub = make_hub(make_spec({"slow": 0.004}, steps=500))
    hub.start()
    hub.wait_step(0, 2)
    hub.stop()
    hub.wait_all_idle()
    steps = {trainee.standing.state.step for trainee in hub.trainees.values()}
    assert steps == {hub.committed[-1].step}
    hub.tell(done=True)
    assert [hub.zygote.ended(pid) for pid in hub.pids] == [0, 0, 0]


def test_a_requested_save_is_made_once(make_hub):
    hub = make_hub(make_spec({"slow": 0.004}, {"everySteps": 100000}, steps=60))
    hub.start()
    hub.wait_step(0, 2)
    hub.tell(save="please")
    hub.wait_done()
    assert len(hub.committed) == 2
    assert hub.committed[0].step < 60


def test_a_death_while_the_result_is_made_is_made_good(make_hub):
    hub = make_hub(make_spec(steps=8))
    hub.commits = False
    hub.start()
    hub.wait(lambda: any(save.step == 8 and saved.whole() for save, saved in hub.saves.items()), "the last save")
    hub.kill(0)
    hub.wait(lambda: hub.trainees[0].gone, "the fault fired")
    hub.commits = True
    hub.start(0)
    hub.wait_done()
    assert len(hub.exported) == 1
    assert hub.committed[-1].generation.n == 2
