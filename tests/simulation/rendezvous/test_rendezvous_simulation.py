"""Any order of faults, over plain objects: no step is finished by two generations, only formed ones run, and it always goes on."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rendezvous_world import HEARTBEAT, JOIN_WINDOW, Agent, World
from trainingjob_api.contract.messages import Leaving, Phase, Stage, Stop

WORKERS = st.integers(0, 3)


class Job(RuleBasedStateMachine):
    """A job of three workers and one spare, and everything that may happen to it."""

    world: World

    @initialize(min_workers=st.integers(1, 3), warm=st.booleans())
    def create(self, min_workers: int, warm: bool) -> None:
        self.world = World(replicas=3, spares=1, min_workers=min_workers)
        if warm:
            self.go_on(60)

    def go_on(self, rounds: int) -> None:
        """Time passes, and nothing goes wrong."""
        for _ in range(rounds):
            self.world.pass_time(0.1)
            for worker in self.world.agents:
                self.ready(worker)
                self.connect(worker)
            self.everybody()
            self.world.work()
            self.world.check()

    def agent(self, worker: int) -> Agent:
        return self.world.agents[worker]

    @rule(worker=WORKERS)
    def ready(self, worker: int) -> None:
        agent = self.agent(worker)
        if agent.process.phase is Phase.STARTING:
            agent.process.phase = Phase.IDLE
            self.world.say(agent)

    @rule(worker=WORKERS)
    def connect(self, worker: int) -> None:
        self.world.connect(self.agent(worker))

    @rule(worker=WORKERS)
    def disconnect(self, worker: int) -> None:
        self.world.disconnect(self.agent(worker))

    @rule()
    def disconnect_all(self) -> None:
        for agent in self.world.agents.values():
            self.world.disconnect(agent)

    @rule(worker=WORKERS)
    def obey(self, worker: int) -> None:
        self.world.obey(self.agent(worker))

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule()
    def everybody(self) -> None:
        """The rendezvous decides, and all hear of it, notice and act; several times over."""
        for _ in range(4):
            self.world.notice_cuts()
            self.world.turn()
            for agent in self.world.agents.values():
                self.world.obey(agent)

    @rule()
    def work(self) -> None:
        self.world.work()

    @rule(rounds=st.integers(1, 30))
    def train(self, rounds: int) -> None:
        self.go_on(rounds)

    @rule(worker=WORKERS)
    def notice_cuts(self, worker: int) -> None:
        self.world.notice_cuts()

    @rule(worker=WORKERS)
    def kill_process(self, worker: int) -> None:
        self.world.kill_process(worker)

    @rule(worker=WORKERS)
    def replace(self, worker: int) -> None:
        self.world.replace(worker)

    @rule(interrupted=st.frozensets(WORKERS, min_size=1))
    def die_within_a_step(self, interrupted: frozenset[int]) -> None:
        """Some have finished the step, some are interrupted in the update, and the first of these dies."""
        for generation, group in self.world.groups():
            seated = interrupted & {agent.id.worker for agent in group}
            if generation.purpose == "Train" and seated and all(agent.process.phase is Phase.STEPPING for agent in group):
                self.world.step(generation, group, frozenset(seated))
                self.world.kill_process(min(seated))

    @rule(one=WORKERS, other=WORKERS)
    def cut_a_link(self, one: int, other: int) -> None:
        """Nothing gets through between two workers, and the rendezvous hears both."""
        self.world.faults.cut(one, other, self.world.now)

    @rule(worker=WORKERS)
    def stall(self, worker: int) -> None:
        """A process enters no collective any more."""
        self.world.faults.busy.add(worker)

    @rule()
    def heal(self) -> None:
        self.world.faults.heal()

    @rule(worker=WORKERS, seconds=st.floats(0.1, 2 * HEARTBEAT))
    def fall_silent(self, worker: int, seconds: float) -> None:
        self.agent(worker).beating = False
        self.pass_time(seconds)
        self.agent(worker).beating = True

    @rule(seconds=st.floats(0.1, JOIN_WINDOW + 1))
    def pass_time(self, seconds: float) -> None:
        """Time passes in ticks; whoever beats is heard."""
        world = self.world
        for _ in range(int(seconds / 0.1)):
            world.pass_time(0.1)
            if world.rendezvous is not None:
                for agent_id in world.rendezvous.beat(world.now):
                    world.evicted(agent_id)
        world.turn()

    @rule(seconds=st.floats(0.6, 60))
    def pause_the_rendezvous(self, seconds: float) -> None:
        """Nothing is heard while it is stopped; nobody is evicted for it."""
        self.world.now += seconds
        self.world.turn()

    @rule()
    def replace_the_rendezvous(self) -> None:
        self.world.kill_rendezvous()
        self.world.start_rendezvous(self.world.intent.epoch + 1)

    @rule()
    def restart_the_rendezvous_in_place(self) -> None:
        """With the same epoch: what it knew of n, it knows again from the agents."""
        self.world.kill_rendezvous()
        self.world.start_rendezvous(self.world.intent.epoch)
        for agent in self.world.agents.values():
            self.world.connect(agent)

    @rule()
    def raise_the_attempt(self) -> None:
        self.world.raise_attempt()

    @rule(worker=WORKERS)
    def leave(self, worker: int) -> None:
        agent = self.agent(worker)
        agent.leaving = True
        if agent.connected and self.world.rendezvous is not None:
            self.world.rendezvous.hear(self.world.now, agent.id, Leaving())

    @rule(save=st.booleans())
    def stop(self, save: bool) -> None:
        self.world.change_intent(stop=Stop(request="s", save=save))

    @rule()
    def resume(self) -> None:
        self.world.change_intent(stop=None)

    @rule(replicas=st.integers(1, 4))
    def scale(self, replicas: int) -> None:
        self.world.change_intent(replicas=replicas, min_workers=1)

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        """Once faults end, the job trains with all its workers again."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.faults.heal()
        world.change_intent(stop=None, replicas=3)
        for worker in [agent.id.worker for agent in world.agents.values() if agent.leaving]:
            world.replace(worker)
        before = len(world.finished)
        for _ in range(int(3 * (HEARTBEAT + JOIN_WINDOW) / 0.5)):
            self.go_on(1)
            self.pass_time(0.5)
            assert world.rendezvous is not None
            if world.rendezvous.decision.state_lost or world.log.attempt > world.intent.attempt:
                world.raise_attempt()
        live = world.rendezvous.live() if world.rendezvous is not None else None
        assert live is not None, world.rendezvous and world.rendezvous.decision
        assert world.rendezvous is not None
        assert world.rendezvous.history.stage is Stage.RUNNING
        assert [seat.slot for seat in live.seats] == [0, 1, 2]
        assert len(world.finished) > before


TestJob = Job.TestCase
TestJob.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
