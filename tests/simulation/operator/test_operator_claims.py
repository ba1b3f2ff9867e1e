"""A made-up job stalls and goes on again: what its status claims meanwhile."""

from __future__ import annotations

import pytest

from operator_world import World
from trainingjob_api.contract.intent import Stall


def go_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.start_pods()
        world.operate()
        world.train()
        world.deliver()
        world.operate()
        world.pass_time(1.0)


@pytest.mark.parametrize("stall", Stall)
def test_a_stall_is_no_training_time(stall: str) -> None:
    world = World()
    go_on(world, 8)
    assert world.status.phase == "Running"
    trained = world.status.ledger["Training"]
    world.claims.stall = stall
    go_on(world, 60)
    assert world.status.phase in ("Stalled", "Evaluating", "Finishing")
    assert world.status.ledger["Training"] <= trained + 2.0
    world.claims.stall = ""
    go_on(world, 3)
    assert world.status.phase == "Running"
    assert world.status.samples_per_second is not None
