"""Histories that chance would take long to find, each with its oracle."""

from __future__ import annotations

from rendezvous_world import HEARTBEAT, World
from trainingjob_api.contract.messages import Phase, Stage, Stop
from trainingjob_rendezvous.quorum.links import TOGETHER_SECONDS
from trainingjob_rendezvous.rendezvous import Rendezvous


def go_on(world: World, rounds: int, apart: frozenset[int] = frozenset(), starting: frozenset[int] = frozenset()) -> None:
    """Time passes; the agents of `apart` stay unconnected, and the processes of `starting` do not get ready."""
    for _ in range(rounds):
        world.pass_time(0.1)
        for worker, agent in world.agents.items():
            if worker not in apart:
                world.connect(agent)
            if agent.process.phase is Phase.STARTING and worker not in starting:
                agent.process.phase = Phase.IDLE
                world.say(agent)
        for _ in range(4):
            world.notice_cuts()
            world.turn()
            for agent in world.agents.values():
                world.obey(agent)
        world.work()
        world.check()


def rendezvous_of(world: World) -> Rendezvous:
    assert world.rendezvous is not None
    return world.rendezvous


def seated(world: World) -> list[int]:
    live = rendezvous_of(world).live()
    assert live is not None
    assert rendezvous_of(world).history.stage is Stage.RUNNING
    return [seat.member.worker for seat in live.seats]


def newest_step(world: World) -> int:
    return max(step for _, step in world.finished)


def test_a_spare_takes_the_place_of_the_dead_and_gives_it_back() -> None:
    world = World(replicas=3, spares=1, min_workers=2)
    go_on(world, 50)
    assert seated(world) == [0, 1, 2]
    step = newest_step(world)
    world.kill_process(1)
    go_on(world, 10, starting=frozenset({1}))
    assert seated(world) == [0, 3, 2]
    assert newest_step(world) > step, "no step is lost, and the next ones follow"
    go_on(world, 20)
    assert seated(world) == [0, 1, 2]


def test_a_spare_left_behind_starts_no_second_line_while_the_job_trains_out_of_sight() -> None:
    world = World(replicas=3, spares=1, min_workers=1)
    go_on(world, 50)
    world.kill_process(1)
    go_on(world, 10, starting=frozenset({1}))
    go_on(world, 20)
    assert seated(world) == [0, 1, 2]
    assert world.agents[3].process.state is not None, "the spare still holds what it had"
    apart = frozenset({0, 1, 2})
    for worker in apart:
        world.disconnect(world.agents[worker])
    step = newest_step(world)
    go_on(world, int(5 * HEARTBEAT / 0.1), apart)
    assert newest_step(world) > step, "the group went on"
    assert rendezvous_of(world).live() is None
    assert rendezvous_of(world).decision.state_lost
    world.raise_attempt()
    go_on(world, 100, apart)
    assert seated(world) == [3]
    go_on(world, 20)
    assert seated(world) == [0, 1, 2]
    assert world.log.attempt == 2


def test_a_restart_of_the_rendezvous_stops_nobody() -> None:
    world = World(replicas=3, spares=1, min_workers=2)
    go_on(world, 50)
    before = rendezvous_of(world).live()
    for epoch in (1, 2):
        world.kill_rendezvous()
        step = newest_step(world)
        go_on(world, 10)
        world.start_rendezvous(epoch)
        go_on(world, 10)
        assert newest_step(world) == step + 20
        assert rendezvous_of(world).live() == before
    assert world.cut == set()


def test_too_few_workers_save_what_they_have_and_wait() -> None:
    world = World(replicas=3, spares=0, min_workers=3)
    go_on(world, 43)
    world.kill_process(1)
    step = newest_step(world)
    go_on(world, 10, starting=frozenset({1}))
    assert world.log.checkpoint == step
    assert rendezvous_of(world).live() is None
    go_on(world, 10)
    assert seated(world) == [0, 1, 2]
    assert newest_step(world) > step


def test_a_stop_saves_the_step_it_stops_at() -> None:
    world = World(replicas=3, spares=1, min_workers=2)
    go_on(world, 50)
    world.change_intent(stop=Stop(request="s"))
    go_on(world, 10)
    assert rendezvous_of(world).orders(world.agents[0].id).done
    report = rendezvous_of(world).report()
    assert (report.stopped, report.stopped_at_step) == ("s", newest_step(world))
    assert world.log.checkpoint == newest_step(world)


def test_when_all_state_is_lost_a_new_attempt_goes_on_from_the_checkpoint() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 60)
    checkpoint = world.log.checkpoint
    for worker in range(3):
        world.kill_process(worker)
    go_on(world, int(2 * HEARTBEAT / 0.1))
    assert rendezvous_of(world).report().state_lost
    world.raise_attempt()
    go_on(world, 20)
    assert seated(world) == [0, 1, 2]
    assert min(step for attempt, step in world.finished if attempt == 2) == (checkpoint or 0) + 1


def test_a_rollback_restores_in_place() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 60)
    processes = [agent.process.id for agent in world.agents.values()]
    world.raise_attempt()
    go_on(world, 10)
    assert seated(world) == [0, 1, 2]
    assert [agent.process.id for agent in world.agents.values()] == processes
    assert rendezvous_of(world).report().failure_count == 0


def seconds_until_a_step(world: World, limit: float) -> float:
    """How long it takes until a step is finished."""
    began, step = world.now, newest_step(world)
    while newest_step(world) == step:
        assert world.now - began < limit, "no step"
        go_on(world, 1)
    return world.now - began


def test_a_cut_link_costs_seconds_and_one_of_the_two_stays_out_until_it_is_whole() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 50)
    world.faults.cut(0, 2, world.now)
    assert seconds_until_a_step(world, 60.0) <= HEARTBEAT + 2.0
    assert seated(world) == [0, 1]
    assert rendezvous_of(world).report().links == "workers 0 and 2 cannot reach each other: worker 2 is left out"
    assert rendezvous_of(world).report().failure_count == 0
    world.faults.heal()
    go_on(world, 350)
    assert seated(world) == [0, 1, 2]
    assert rendezvous_of(world).report().links == ""


def test_a_link_that_is_whole_again_keeps_nobody_out() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 50)
    world.faults.cut(0, 2, world.now)
    go_on(world, 20)
    world.faults.heal()
    assert seconds_until_a_step(world, 60.0) <= HEARTBEAT
    assert seated(world) == [0, 1, 2]


def test_a_job_that_cannot_train_without_both_goes_on_soon_after_the_link_is_whole_again() -> None:
    world = World(replicas=2, spares=0, min_workers=2)
    go_on(world, 50)
    world.faults.cut(0, 1, world.now)
    go_on(world, 3000)
    world.faults.heal()
    assert seconds_until_a_step(world, 60.0) <= TOGETHER_SECONDS + HEARTBEAT
    assert rendezvous_of(world).report().links == ""
    before = rendezvous_of(world).live()
    go_on(world, 100)
    assert rendezvous_of(world).live() == before, "nobody is parted again"


def test_a_link_that_stays_cut_is_tried_seldom() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 50)
    world.faults.cut(0, 2, world.now)
    began, step = world.now, newest_step(world)
    go_on(world, 3000)
    lost = (world.now - began) - 0.1 * (newest_step(world) - step)
    assert lost < 0.08 * (world.now - began), "the others hardly notice"


def test_a_worker_that_computes_for_long_is_named_and_nobody_regroups() -> None:
    world = World(replicas=3, spares=0, min_workers=2)
    go_on(world, 50)
    before = rendezvous_of(world).live()
    world.faults.busy.add(1)
    go_on(world, 1500)
    assert rendezvous_of(world).live() == before
    report = rendezvous_of(world).report()
    assert (report.stalled, report.waits_for) == ("Data", "worker 1 waits for its dataset's samples; the others wait")
    world.faults.heal()
    go_on(world, 5)
    assert rendezvous_of(world).report().stalled == ""


def test_without_enough_workers_that_reach_each_other_the_job_waits_and_saves() -> None:
    world = World(replicas=2, spares=0, min_workers=2)
    go_on(world, 53)
    world.faults.cut(0, 1, world.now)
    step = newest_step(world)
    go_on(world, 100)
    assert world.log.checkpoint == step
    assert "workers 0 and 1 cannot reach each other" in rendezvous_of(world).report().links
    world.faults.heal()
    go_on(world, 350)
    assert seated(world) == [0, 1]
    assert newest_step(world) > step
