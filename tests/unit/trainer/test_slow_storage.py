"""Storage that takes no snapshot holds up no step: all ranks skip the same saves, and make up for them together."""

from __future__ import annotations

import pytest

from trainingjob_api.contract.messages import Phase, Stage
from unit.trainer.conftest import make_spec
from unit.trainer.hub import Hub

BUFFERS = 2
EVERY = 4


def stuck_hub(make_hub, *stuck: int, steps: int = 4000, **checkpoint: object) -> Hub:
    """A job of 3 ranks; the uploads of these ranks do not end."""
    hub = make_hub(make_spec({"slow": 0.001}, checkpoint or {"everySteps": EVERY}, steps=steps))
    hub.stuck = set(stuck)
    return hub


def saved_by(hub: Hub, slot: int) -> list[int]:
    """The steps of which this slot has handed a snapshot over."""
    return sorted(save.step for save, kept in hub.saves.items() if slot in kept.shards)


def all_are(hub: Hub, phase: Phase) -> bool:
    return all(trainee.standing is not None and trainee.standing.phase is phase for trainee in hub.trainees.values())


def stepping(hub: Hub, slot: int = 0) -> int:
    return hub.trainees[slot].stamp.read().step or 0


def test_a_rank_whose_storage_hangs_holds_up_no_step_and_all_skip_the_same_saves(make_hub):
    hub = stuck_hub(make_hub, 1)
    hub.start()
    hub.wait_step(0, EVERY * (BUFFERS + 20))
    with hub.changed:
        made = [saved_by(hub, slot) for slot in range(3)]
    assert made == [[EVERY, 2 * EVERY]] * 3, "two buffers, so two saves, and then none on any rank"
    hub.wait(lambda: any(pace.skipping_since == 3 * EVERY for pace in hub.trainees[1].paces), "what is skipped is told")
    hub.close()


def test_a_save_that_was_skipped_is_made_up_by_all_ranks_at_one_step_once_there_is_room(make_hub):
    hub = stuck_hub(make_hub, 2, steps=60_000, everySteps=50_000)
    hub.start()
    hub.tell(save="a")
    hub.wait(lambda: len(hub.committed) == 1, "asked for, once")
    hub.tell(save="b")
    hub.wait(lambda: len(hub.committed) == 2, "asked for, twice")
    hub.tell(save="c")
    asked = stepping(hub)
    hub.wait_step(0, asked + 50)
    assert len(hub.committed) == 2, "there is no room"
    hub.unstick()
    hub.wait(lambda: len(hub.committed) == 3, "made up for")
    made_up = hub.committed[-1].step
    assert made_up < 50_000, "not only when the next save is due"
    assert [made_up in saved_by(hub, slot) for slot in range(3)] == [True] * 3
    hub.wait_step(0, made_up + 20)
    assert len(hub.committed) == 3, "once"
    hub.close()


def test_a_save_by_time_that_finds_no_room_holds_up_no_step(make_hub):
    hub = stuck_hub(make_hub, 0, 1, 2, steps=60_000, everySeconds=1)
    hub.start()
    hub.wait(lambda: len(hub.committed) == BUFFERS, "both buffers are taken")
    stands = stepping(hub)
    hub.wait_step(0, stands + 100)
    assert len(hub.committed) == BUFFERS
    hub.unstick()
    hub.wait(lambda: len(hub.committed) > BUFFERS, "saves go on")
    hub.close()


def test_a_stop_waits_for_room_and_saves_the_last_step(make_hub):
    hub = stuck_hub(make_hub, 1)
    hub.start()
    hub.wait_step(0, EVERY * (BUFFERS + 3))
    hub.stop()
    hub.wait(lambda: all_are(hub, Phase.FINISHING), "they wait for room")
    assert len(hub.committed) == BUFFERS
    hub.unstick()
    hub.wait_all_idle()
    steps = {trainee.standing.state.step for trainee in hub.trainees.values()}
    assert steps == {hub.committed[-1].step}, "the step at which they stopped is in storage"
    hub.close()


def test_the_last_step_waits_for_room(make_hub):
    hub = stuck_hub(make_hub, 0, steps=40)
    hub.start()
    hub.wait(lambda: all_are(hub, Phase.FINISHING), "the last step is done")
    assert not hub.exported
    hub.unstick()
    hub.wait_done()
    assert hub.committed[-1].step == 40


def test_a_generation_that_only_saves_does_not_wait_for_room(make_hub):
    """A newcomer who may train with them must not wait for storage."""
    hub = stuck_hub(make_hub, 0, 1, 2)
    hub.start()
    hub.wait_step(0, EVERY * (BUFFERS + 3))
    hub.paused = True
    hub.tell(regroup=True)
    hub.wait_all_idle()
    hub.tell(stage=Stage.OVER)
    hub.propose(purpose="Save")
    hub.wait(lambda: all_are(hub, Phase.FORMED), "formed")
    hub.tell(stage=Stage.RUNNING)
    hub.wait_all_idle()
    assert len(hub.committed) == BUFFERS
    hub.close()


@pytest.mark.parametrize("stuck", [(0,), (0, 1, 2)], ids=["one", "all"])
def test_what_is_trained_does_not_depend_on_what_storage_takes(make_hub, stuck):
    finals = []
    for slots in ((), stuck):
        hub = stuck_hub(make_hub, *slots, steps=60)
        hub.start()
        hub.wait(lambda hub=hub: all_are(hub, Phase.FINISHING), "the last step is done")
        hub.unstick()
        hub.wait_done()
        finals.append(hub.final())
    assert finals[0].keys() == finals[1].keys()
    assert all(finals[0][name].equal(finals[1][name]) for name in finals[0])
