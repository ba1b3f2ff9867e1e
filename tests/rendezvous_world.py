"""A job of plain objects around a real `Rendezvous`: agents, training processes, their groups, the log and the clock.

Every process obeys its orders as the trainer does; what goes wrong, and when, the test chooses. Nothing is random here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rendezvous_faults import Faults
from trainingjob_api.contract.intent import Intent, WorkerSeat
from trainingjob_api.contract.messages import (
    Commit,
    Failure,
    FailureCause,
    Generation,
    GenerationId,
    Hello,
    Leaving,
    LogPosition,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Saved,
    SaveId,
    Shard,
    Stage,
    State,
)
from trainingjob_api.contract.runtime import CONTRACT_VERSION
from trainingjob_rendezvous.quorum.members import AgentId
from trainingjob_rendezvous.rendezvous import Rendezvous

HEARTBEAT = 3.0
JOIN_WINDOW = 5.0


@dataclass
class Process:
    """One training process."""

    id: MemberId
    phase: Phase = Phase.STARTING
    generation: Generation | None = None
    state: State | None = None
    seen: GenerationId | None = None
    """The newest generation it took part in: it forms no older one."""
    forming: Generation | None = None
    """The generation whose group it cannot form, since a link is cut."""
    since: float = 0.0
    """When it began to form its group."""
    saving: int | None = None
    """It waits until this step is committed, and then leaves."""

    def report(self) -> MemberReport:
        shown = self.state if self.phase in (Phase.IDLE, Phase.FORMED) else None
        return MemberReport(member=self.id, phase=self.phase, generation=self.generation and self.generation.id, state=shown)


@dataclass
class Agent:
    """One pod."""

    id: AgentId
    process: Process
    connected: bool = False
    beating: bool = True
    leaving: bool = False
    epoch: int = 0
    orders: Orders | None = None
    log: LogPosition | None = None
    unacknowledged: dict[tuple[GenerationId, int], Saved] = field(default_factory=dict)


class World:
    """The job, and what must never happen to it."""

    def __init__(self, replicas: int, spares: int, min_workers: int) -> None:
        self.now = 0.0
        self.log = LogPosition(seq=-1)
        self.committed: dict[tuple[int, int], str] = {}
        self.finished: dict[tuple[int, int], GenerationId] = {}
        self.formed: dict[GenerationId, set[MemberId]] = {}
        self.cut: set[GenerationId] = set()
        self.generations: list[GenerationId] = []
        self.agents: dict[int, Agent] = {}
        self.faults = Faults()
        self.intent = Intent(epoch=1, attempt=1, replicas=replicas, min_workers=min_workers, build="b")
        for worker in range(replicas + spares):
            self.agents[worker] = self.new_agent(worker, 0)
        self.list_workers()
        self.rendezvous: Rendezvous | None = None
        self.start_rendezvous(1)

    # --- the operator ------------------------------------------------------------------

    def change_intent(self, **changes: object) -> None:
        self.intent = self.intent.model_copy(update=changes)
        if self.rendezvous is not None:
            assert self.rendezvous.take_intent(self.now, self.intent) is None

    def list_workers(self) -> None:
        seats = tuple(WorkerSeat(worker=agent.id.worker, incarnation=agent.id.incarnation) for agent in self.agents.values())
        self.intent = self.intent.model_copy(update={"workers": seats})

    def replace(self, worker: int) -> None:
        """The pod has died, and another takes its place."""
        old = self.agents[worker]
        self.kill_agent(worker)
        self.agents[worker] = self.new_agent(worker, old.id.incarnation + 1)
        self.list_workers()
        self.change_intent()

    def raise_attempt(self) -> None:
        self.change_intent(attempt=max(self.intent.attempt, self.log.attempt) + 1)

    # --- the rendezvous ----------------------------------------------------------------

    def start_rendezvous(self, epoch: int) -> None:
        self.intent = self.intent.model_copy(update={"epoch": epoch})
        self.rendezvous = Rendezvous(self.now, epoch, self.intent, HEARTBEAT, JOIN_WINDOW)
        self.faults.stepped.clear()
        self.rendezvous.take_intent(self.now, self.intent)

    def kill_rendezvous(self) -> None:
        self.rendezvous = None
        for agent in self.agents.values():
            agent.connected = False

    def turn(self) -> None:
        if self.rendezvous is None:
            return
        for agent_id in self.rendezvous.beat(self.now):
            self.evicted(agent_id)
        before = self.rendezvous.history
        turn = self.rendezvous.turn(self.now)
        self.check_generation(before.generation)
        for agent_id, _ in turn.refused:
            self.evicted(agent_id)
        for agent_id, commit in turn.commits:
            self.commit(self.agents[agent_id.worker], commit)
        self.faults.check_claims(self.rendezvous, self.now)

    def pass_time(self, seconds: float) -> None:
        """Time passes, a tick; whoever beats is heard."""
        self.now += seconds
        for agent in self.agents.values():
            if agent.beating and agent.connected and self.rendezvous is not None:
                self.rendezvous.hear(self.now, agent.id, self.faults.beat(agent.process, self.now))

    def evicted(self, agent_id: AgentId) -> None:
        agent = self.agents.get(agent_id.worker)
        if agent is not None and agent.id == agent_id:
            assert not (agent.connected and agent.beating), f"{agent_id} was evicted without evidence"
            agent.connected = False

    # --- agents ------------------------------------------------------------------------

    def new_agent(self, worker: int, incarnation: int) -> Agent:
        return Agent(AgentId(worker, incarnation), Process(MemberId(worker, incarnation, 0, 0)))

    def connect(self, agent: Agent) -> None:
        if self.rendezvous is None or agent.connected:
            return
        hello = Hello(
            contract=CONTRACT_VERSION,
            build="b",
            worker=agent.id.worker,
            incarnation=agent.id.incarnation,
            address="a",
            epoch=agent.epoch,
            generation=agent.process.seen,
            orders=agent.orders,
            members=(agent.process.report(),),
        )
        agent.connected = self.rendezvous.hello(self.now, hello) is None
        if agent.connected:
            for message in [agent.log, Leaving() if agent.leaving else None, *agent.unacknowledged.values()]:
                if message is not None:
                    self.rendezvous.hear(self.now, agent.id, message)

    def disconnect(self, agent: Agent) -> None:
        if agent.connected and self.rendezvous is not None:
            self.rendezvous.lost(self.now, agent.id, FailureCause.LOST)
        agent.connected = False

    def say(self, agent: Agent) -> None:
        if agent.connected and self.rendezvous is not None:
            self.rendezvous.hear(self.now, agent.id, agent.process.report())

    def kill_agent(self, worker: int) -> None:
        agent = self.agents[worker]
        self.leave_group(agent.process)
        self.disconnect(agent)

    def kill_process(self, worker: int) -> None:
        agent = self.agents[worker]
        old = agent.process
        self.leave_group(old)
        agent.process = Process(old.id._replace(life=old.id.life + 1), seen=old.seen)
        if agent.connected and self.rendezvous is not None:
            failure = Failure(member=old.id, cause=FailureCause.SIGNAL)
            self.rendezvous.hear(self.now, agent.id, MemberReport(member=old.id, phase=Phase.GONE, failure=failure))
        self.say(agent)

    def leave_group(self, process: Process) -> None:
        if process.generation is not None:
            self.cut.add(process.generation.id)

    def obey(self, agent: Agent) -> None:
        """The agent hears its orders, and its process does what they say."""
        if not agent.connected or self.rendezvous is None:
            return
        orders = self.rendezvous.orders(agent.id)
        if orders.epoch < agent.epoch:
            return
        agent.epoch, agent.orders = orders.epoch, orders
        process, generation = agent.process, orders.generation
        if process.generation is not None and generation is not None:
            mine = process.generation.id
            if generation.id > mine or (generation.id == mine and orders.stage is Stage.OVER):
                self.drop(agent)
            elif generation.id == mine and orders.stage is Stage.RUNNING and process.phase is Phase.FORMED:
                process.phase = Phase.RESTORING
                self.say(agent)
            elif process.saving is not None and (orders.checkpoint or -1) >= process.saving:
                self.go_idle(agent)
        if process.phase is Phase.IDLE and generation is not None and orders.stage is Stage.PROPOSED:
            fresh = process.seen is None or generation.id > process.seen
            if generation.rank_of(process.id) is not None and fresh and process.forming != generation:
                process.forming, process.since = generation, self.now
            if generation.rank_of(process.id) is not None and fresh and not self.faults.cut_within(generation):
                process.phase, process.generation, process.seen = Phase.FORMED, generation, generation.id
                self.formed.setdefault(generation.id, set()).add(process.id)
                self.say(agent)

    def drop(self, agent: Agent) -> None:
        self.leave_group(agent.process)
        self.go_idle(agent)

    def go_idle(self, agent: Agent) -> None:
        process = agent.process
        process.phase, process.generation, process.saving = Phase.IDLE, None, None
        self.say(agent)

    # --- training ----------------------------------------------------------------------

    def group(self, generation: Generation) -> list[Agent] | None:
        """The agents of all its ranks, if every process lives and is in it."""
        found = []
        for seat in generation.seats:
            agent = self.agents.get(seat.member.worker)
            if agent is None or agent.process.id != seat.member or agent.process.generation != generation:
                return None
            found.append(agent)
        return None if generation.id in self.cut else found

    def groups(self) -> list[tuple[Generation, list[Agent]]]:
        """The groups that stand."""
        generations = {agent.process.generation for agent in self.agents.values() if agent.process.generation is not None}
        return [(g, group) for g in sorted(generations, key=lambda g: g.id) if (group := self.group(g)) is not None]

    def notice_cuts(self) -> None:
        """Whoever is in a group that was cut gets an error, and reports Idle."""
        for agent in self.agents.values():
            generation = agent.process.generation
            if generation is not None and self.group(generation) is None:
                self.drop(agent)

    def work(self) -> None:
        """Every group that stands goes on: it restores, or finishes one step."""
        for generation, group in self.groups():
            processes = [agent.process for agent in group]
            if self.faults.holds_up(generation):
                continue
            if all(process.phase in (Phase.RESTORING, Phase.STEPPING) for process in processes):
                if any(process.phase is Phase.RESTORING for process in processes):
                    self.restore(generation, group)
                elif generation.purpose == "Save":
                    self.save(generation, group)
                    for agent in group:
                        self.go_idle(agent)
                elif all(process.saving is None for process in processes):
                    self.step(generation, group)

    def restore(self, generation: Generation, group: list[Agent]) -> None:
        source = group[generation.source.rank]
        if generation.source.kind == "Storage" and source.process.phase is Phase.RESTORING and not self.open(generation, source):
            return
        state = source.process.state
        assert state is not None
        if generation.source.kind == "Peer":
            assert state == generation.source.state, "the source holds what its generation names"
        for agent in group:
            agent.process.state, agent.process.phase = state, Phase.STEPPING
            self.say(agent)

    def open(self, generation: Generation, opener: Agent) -> bool:
        """Fence the attempt in the log and begin at its newest checkpoint."""
        attempt = generation.id.attempt
        refused = self.log.attempt >= attempt
        if not refused:
            self.log = self.log.model_copy(update={"seq": self.log.seq + 1, "attempt": attempt, "opened_attempt": 0})
            opener.process.state = State(attempt=attempt, step=self.log.checkpoint or 0, digest=f"opened-{attempt}")
        self.tell_log(opener, opened=0 if refused else attempt)
        return not refused

    def tell_log(self, agent: Agent, opened: int = 0) -> None:
        before = agent.log.opened_attempt if agent.log is not None else 0
        agent.log = self.log.model_copy(update={"opened_attempt": max(opened, before)})
        if agent.connected and self.rendezvous is not None:
            self.rendezvous.hear(self.now, agent.id, agent.log)

    def step(self, generation: Generation, group: list[Agent], interrupted: frozenset[int] = frozenset()) -> None:
        """One step; `interrupted` workers lose their state in the middle of it, and the group breaks."""
        before = group[0].process.state
        assert before is not None
        after = State(attempt=before.attempt, step=before.step + 1, digest=f"{before.digest[:24]}>{generation.id.label()}")
        for agent in group:
            agent.process.state = None if agent.id.worker in interrupted else after
        if interrupted & {agent.id.worker for agent in group}:
            self.cut.add(generation.id)
            return
        known = self.finished.setdefault((after.attempt, after.step), generation.id)
        assert known == generation.id, f"{known} and {generation.id} both finished step {after.step}"
        if self.rendezvous is not None:
            self.faults.stepped[generation] = self.rendezvous.pulse.awake(self.now)
        self.follow_control_word(generation, group, after)

    def follow_control_word(self, generation: Generation, group: list[Agent], state: State) -> None:
        orders = [agent.orders for agent in group if agent.orders is not None]
        stop = next((told.stop for told in orders if told.stop is not None), None)
        if any(told.regroup and told.generation == generation for told in orders):
            for agent in group:
                self.go_idle(agent)
        elif stop is not None:
            if stop.save:
                self.save(generation, group)
            for agent in group:
                agent.process.saving = state.step if stop.save else 0
                if not stop.save:
                    self.go_idle(agent)
        elif state.step % 4 == 0:
            self.save(generation, group)

    def save(self, generation: Generation, group: list[Agent]) -> None:
        for rank, agent in enumerate(group):
            state = agent.process.state
            assert state is not None
            shard = Shard(rank=rank, name=f"{rank}", bytes=1, blake3="0" * 64)
            saved = Saved(
                member=agent.process.id, save=SaveId(generation=generation.id, step=state.step), shard=shard, position=state.digest
            )
            agent.unacknowledged[(generation.id, state.step)] = saved
            if agent.connected and self.rendezvous is not None:
                self.rendezvous.hear(self.now, agent.id, saved)

    def commit(self, agent: Agent, commit: Commit) -> None:
        """The agent writes the log entry, unless the log has moved on."""
        assert commit.world == len(commit.shards) == len({shard.rank for shard in commit.shards})
        attempt, step = commit.save.generation.attempt, commit.save.step
        if attempt == self.log.attempt and step > (self.log.checkpoint or -1):
            known = self.committed.setdefault((attempt, step), commit.position)
            assert known == commit.position, f"step {step} was committed twice"
            self.log = self.log.model_copy(update={"seq": self.log.seq + 1, "checkpoint": step})
        self.tell_log(agent)

    # --- what must hold ----------------------------------------------------------------

    def check_generation(self, before: Generation | None) -> None:
        assert self.rendezvous is not None
        history = self.rendezvous.history
        generation = history.generation
        if generation is None:
            return
        if history.stage is Stage.RUNNING:
            assert {seat.member for seat in generation.seats} <= self.formed[generation.id], "only a formed generation runs"
        if generation == before or generation.id in self.generations:
            return
        assert all(generation.id > older for older in self.generations), "generations only grow"
        self.generations.append(generation.id)
        assert len({seat.member for seat in generation.seats}) == len(generation.seats)
        assert len({seat.slot for seat in generation.seats}) == len(generation.seats)
        assert len({seat.member.worker for seat in generation.seats}) == len(generation.seats)

    def check(self) -> None:
        """At no time two groups of an attempt can take steps."""
        stepping: dict[int, GenerationId] = {}
        for generation, group in self.groups():
            if all(agent.process.phase is Phase.STEPPING for agent in group) and generation.purpose == "Train":
                other = stepping.setdefault(generation.id.attempt, generation.id)
                assert other == generation.id, f"{other} and {generation.id} run at once"
