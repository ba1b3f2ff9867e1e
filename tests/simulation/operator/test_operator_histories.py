"""The operator's invariants over whatever histories hypothesis can think of."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from operator_builders import OTHERS, SETTINGS
from operator_world import World
from trainingjob_api.contract.intent import Stall
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import PodPhase, Role

HISTORIES = int(os.environ.get("TRAININGJOB_HISTORIES", "40"))
"""Raise it for a long search."""
TERMINAL = ("Succeeded", "Failed")


class OperatorHistories(RuleBasedStateMachine):
    """Pods start, fail, vanish and fall silent; reports come or do not; the operator dies between any two actions."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.requests = 0

    @initialize(
        volumes=st.booleans(),
        children_first=st.booleans(),
        retained=st.sampled_from([2, 99]),
        keeps=st.sampled_from([True, True, False]),
        steps=st.sampled_from([0, 0, 10, 17]),
    )
    def begin(self, volumes: bool, children_first: bool, retained: int, keeps: bool, steps: int) -> None:
        """`keeps`: the workers are new enough to keep a rollback's checkpoint when they are asked to. `steps`: what was trained before."""
        self.world.nodes.volumes, self.world.children_first = volumes, children_first
        self.world.log.retained, self.world.rollbacks.keeps = retained, keeps
        for _ in range(steps):
            self.go_on(1)

    @rule(killed_after=st.none() | st.integers(0, 8))
    def operate(self, killed_after: int | None) -> None:
        self.world.operate(killed_after)

    @rule(steps=st.integers(1, 4))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.world.start_pods()
            self.world.operate()
            self.world.train()
            self.world.deliver()
            self.world.pass_time(1.0)

    @rule()
    def start_pods(self) -> None:
        self.world.start_pods()

    @rule()
    def train(self) -> None:
        self.world.train()

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule(seconds=st.sampled_from([0.1, 3.0, 11.0, 31.0, 130.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def end_deleting(self) -> None:
        self.world.end_deleting()

    @precondition(lambda self: self.world.pods)
    @rule(
        data=st.data(),
        fault=st.sampled_from(["fail", "vanish", "evict", "silence", "crash_process"]),
        code=st.sampled_from([1, 0, 65, 137]),
    )
    def break_pod(self, data: st.DataObject, fault: str, code: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.pods)))
        arguments: tuple[Any, ...] = (name, code) if fault == "fail" else (name,)
        getattr(self.world, fault)(*arguments)

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), heard=st.booleans())
    def lose_node(self, data: st.DataObject, heard: bool) -> None:
        self.world.lose_node(data.draw(st.sampled_from(sorted(self.world.pods))), heard=heard)

    @precondition(lambda self: self.world.nodes.lost)
    @rule(data=st.data())
    def find_node(self, data: st.DataObject) -> None:
        self.world.find_node(data.draw(st.sampled_from(sorted(self.world.nodes.lost))))

    @rule(stall=st.sampled_from(["", *Stall]))
    def stall(self, stall: str) -> None:
        """Something holds the steps up from now on, or nothing does any more."""
        self.world.claims.stall = stall

    @rule()
    def lose_stream(self) -> None:
        self.world.reporting = False

    @rule()
    def restart_operator(self) -> None:
        self.world.restart_operator()

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        self.world.edit(suspend=suspend)

    @rule(step=st.sampled_from([5, 10, 15, 7]))
    def roll_back(self, step: int) -> None:
        self.requests += 1
        self.world.edit(rollback={"toStep": step, "request": f"request-{self.requests}"})

    @precondition(lambda self: self.world.running and self.world.status.checkpoints)
    @rule(data=st.data(), steps=st.integers(1, 8))
    def roll_back_while_it_trains(self, data: st.DataObject, steps: int) -> None:
        """To a checkpoint that the status names, which retention may drop in these steps."""
        self.roll_back(data.draw(st.sampled_from(self.world.status.checkpoints)))
        self.world.train()
        self.world.deliver()
        self.go_on(steps)

    @rule(mute=st.booleans())
    def answer_late(self, mute: bool) -> None:
        """Whoever is to keep a rollback's checkpoint does not answer, or does again."""
        self.world.rollbacks.mute = mute

    @rule(replicas=st.integers(2, 5))
    def scale(self, replicas: int) -> None:
        self.world.edit(workers={"replicas": replicas, "minReplicas": 2})

    @rule(other=st.booleans())
    def upgrade(self, other: bool) -> None:
        """Another version of the operator, or the first one again."""
        self.world.settings = OTHERS if other else SETTINGS

    @rule()
    def converge(self) -> None:
        """plan(observed after plan) = nothing to do."""
        world = self.world
        for _ in range(8):
            if world.operate().requeue_after != 0.0 and self._is_content():
                return
        raise AssertionError(f"still busy after eight passes: {plan(world.observe(), world.settings, world.now)}")

    def _is_content(self) -> bool:
        seen = self.world.observe()
        last = plan(seen, self.world.settings, self.world.now)
        return last.status == seen.job.status and (last.create, last.delete, last.events) == ((), (), ())

    def teardown(self) -> None:
        world = self.world
        world.speak()
        world.claims.stall, world.rollbacks.mute = "", False
        self._find_nodes_with_claims()
        world.edit(suspend=False)
        for _ in range(400):
            world.end_deleting()
            world.start_pods()
            world.train()
            world.deliver()
            world.pass_time(1.0)
            over = world.status.phase in TERMINAL
            world.operate()
            if over and world.status.phase in TERMINAL:  # not for a moment, before a rollback that was asked for
                break
        assert world.status.phase in TERMINAL, world.status
        self._settles()

    def _find_nodes_with_claims(self) -> None:
        """Some nodes never come back; a pod that holds a claim on one of them waits for somebody to say that it is gone."""
        world = self.world
        rendezvous = [pod.name for pod in world.pods.values() if pod.role is Role.RENDEZVOUS]
        for name in [*world.nodes.lost] if world.nodes.volumes else rendezvous:
            world.find_node(name)

    def _settles(self) -> None:
        world = self.world
        for _ in range(10):
            world.pass_time(30.0)
            world.operate()
            world.end_deleting()
        seen = world.observe()
        last = plan(seen, world.settings, world.now)
        assert last.status == seen.job.status
        assert (last.create, last.delete, last.intent, last.events, last.requeue_after) == ((), (), None, (), None)
        assert not [pod for pod in world.pods.values() if pod.role is Role.RENDEZVOUS or pod.phase is PodPhase.RUNNING]
        asked = seen.job.spec.rollback
        assert asked is None or seen.job.status.last_rollback_request == asked.request, "every request has its answer"


OperatorHistories.TestCase.settings = settings(
    max_examples=HISTORIES, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
TestOperatorHistories = OperatorHistories.TestCase
