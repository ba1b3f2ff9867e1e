"""One job's rendezvous as a state machine: it hears, it decides by `quorum`, it says what everybody is to be told.

No network, no clock, no logging: time is an argument, and what happened lies in `events` for whoever logs it. The server and the
simulation drive this same object.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trainingjob_api.contract.intent import Intent, Report
from trainingjob_api.contract.log_position import merge
from trainingjob_api.contract.messages import (
    AgentMessage,
    Beat,
    Commit,
    Failure,
    FailureCause,
    Generation,
    GenerationId,
    Hello,
    LogPosition,
    MemberReport,
    Orders,
    Phase,
    Progress,
    Saved,
    Stage,
)
from trainingjob_api.contract.messages import Leaving as LeavingMessage
from trainingjob_rendezvous.failures import Failures, with_leavers
from trainingjob_rendezvous.keeper import is_obeyed, keeper, with_answer
from trainingjob_rendezvous.log_position import refuses_to_open
from trainingjob_rendezvous.pulse import Pulse
from trainingjob_rendezvous.quorum.admission import refuse_agent, refuse_hello, widened
from trainingjob_rendezvous.quorum.adoption import ran
from trainingjob_rendezvous.quorum.decide import quorum
from trainingjob_rendezvous.quorum.history import Action, Decision, History
from trainingjob_rendezvous.quorum.links import apart, formed_with, with_cut, words_of
from trainingjob_rendezvous.quorum.members import Agent, AgentId, Member, Members
from trainingjob_rendezvous.report import LONGEST_TEXT, Requests, assemble
from trainingjob_rendezvous.saves import Saves
from trainingjob_rendezvous.still import Still

MOST_DECISIONS = 8
"""Decisions in a row before the rest waits for the next turn: over, proposed and run follow each other."""


@dataclass(frozen=True)
class Turn:
    """What is to be done now that all was decided."""

    commits: tuple[tuple[AgentId, Commit], ...] = ()
    refused: tuple[tuple[AgentId, str], ...] = ()
    """Agents that are not wanted any more, and why: they are forgotten already."""
    wake_at: float | None = None
    """Take the next turn by then."""


@dataclass
class Rendezvous:
    """The membership authority of one job, for one epoch."""

    now: float
    epoch: int
    first_intent: Intent
    heartbeat_timeout: float = 3.0
    join_window: float = 20.0
    members: Members = field(default_factory=Members)
    failures: Failures = field(default_factory=Failures)
    saves: Saves = field(default_factory=Saves)
    events: list[str] = field(default_factory=list)
    """What happened since somebody last emptied this list, one line each."""
    decision: Decision = field(default_factory=Decision)
    stood_down: str | None = None
    """Why this rendezvous must not say anything any more: there is one of a higher epoch."""

    def __post_init__(self) -> None:
        self.still = Still()
        self._links = ""
        self._spoken = False
        self._intent = self.first_intent
        self._intent_at = self.now
        self.pulse = Pulse(self.now, self.heartbeat_timeout)
        self.history = History(
            epoch=self.epoch,
            grace_until=self.now + self.heartbeat_timeout,
            since=self.now,
            patience=self.heartbeat_timeout,
            join_window=self.join_window,
        )
        self.requests = Requests().ask(self.first_intent.save, None)

    # --- what is heard ----------------------------------------------------------------

    @property
    def intent(self) -> Intent:
        """The intent that counts: the operator's last word, or the first one as far as it can still hold."""
        return self._intent if self._spoken else widened(self._intent, self.members.agents, self.history.generation)

    def take_intent(self, now: float, intent: Intent) -> str | None:
        """Take in the operator's word; returns why it was refused, or None."""
        if intent.epoch > self.epoch:
            self.stood_down = f"the operator speaks of epoch {intent.epoch}"
        if intent.epoch != self.epoch:
            return f"this is epoch {self.epoch}, the intent is for {intent.epoch}"
        if intent.attempt < self._intent.attempt:
            return f"attempt {intent.attempt} is older than {self._intent.attempt}"
        if self._spoken and intent == self._intent:
            return None
        self.events.append(f"intent: attempt {intent.attempt}, {intent.replicas} workers, {len(intent.workers)} pods")
        self.requests = self.requests.ask(intent.save, self._known_step())
        self._spoken, self._intent, self._intent_at = True, intent, now
        return None

    def hello(self, now: float, hello: Hello) -> str | None:
        """Take in an agent's connection; returns why it is refused, or None."""
        if hello.epoch > self.epoch:
            self.stood_down = f"worker {hello.worker} has seen epoch {hello.epoch}"
            return self.stood_down
        reason = refuse_hello(hello, self.intent)
        if reason is not None:
            self.events.append(f"worker {hello.worker}.{hello.incarnation} refused: {reason}")
            return reason
        agent = self.members.connect(now, hello)
        self.members.agents[agent].last_heard = self.pulse.awake(now)
        self.saves.forget_asked(agent)
        self._hear_of(now, hello.generation, hello.orders)
        for report in hello.members:
            self._note(report)
        self.events.append(f"worker {agent.label()} connected")
        return None

    def hear(self, now: float, agent: AgentId, message: AgentMessage) -> None:
        """Take in a message of a connected agent; one of an agent that is not (any more) is ignored."""
        known = self.members.agents.get(agent)
        if known is None:
            return
        known.last_heard = self.pulse.awake(now)
        match message:
            case MemberReport():
                self.members.report(now, agent, message)
                self._note(message)
            case Progress():
                member = known.members.get(message.member.process)
                if member is not None and member.id == message.member:
                    known.progress[message.member.process] = message
            case Saved():
                if (message.member.worker, message.member.incarnation) == agent:
                    self.saves.saved(message, self.history.log)
            case LogPosition():
                self._take_log(agent, message)
            case Beat():
                self._take_trouble(known, message.trouble[:LONGEST_TEXT])
                known.stamps = {stamp.process: stamp for stamp in message.stamps}
            case LeavingMessage():
                known.leaving = True
                self.events.append(f"worker {agent.label()} is leaving")

    def lost(self, now: float, agent: AgentId, cause: FailureCause) -> None:
        """The agent's connection closed (Lost), or nothing was heard of it for too long (Silent): so its members are gone."""
        known = self.members.agents.get(agent)
        if known is None:
            return
        orderly = self.decision.done or self.intent.failed is not None
        for member in self.members.disconnect(agent):
            if not orderly and not (known.leaving and not member.phase.running()):
                self._fail(_loss(member, cause, known.progress.get(member.id.process)))
        self.saves.forget_asked(agent)
        self.events.append(
            f"worker {agent.label()} is gone: {'nothing heard of it' if cause is FailureCause.SILENT else 'connection closed'}"
        )

    def beat(self, now: float) -> tuple[AgentId, ...]:
        """The loop has come round. Agents that have been silent for too long are forgotten; they are returned."""
        late = self.pulse.beat(now)
        if late > 0.1:
            self.events.append(f"paused for {late:.2f} s")
        limit = self.pulse.limit(now)
        silent = self.members.silent(self.pulse.awake(now), limit) if limit is not None else ()
        for agent in silent:
            self.lost(now, agent, FailureCause.SILENT)
        return silent

    # --- what is decided --------------------------------------------------------------

    def turn(self, now: float) -> Turn:
        """Decide until there is nothing more to decide."""
        wake_at: list[float] = []
        for _ in range(MOST_DECISIONS):
            self.history = replace(self.history, claims=self.members.claims())
            decision = quorum(now, self.members.snapshot(), self.intent, self.history)
            self._apply(now, decision)
            if decision.action is Action.NOTHING:
                break
        else:
            wake_at.append(now)
        if self.decision.wake_at is not None:
            wake_at.append(self.decision.wake_at)
        commits = self.saves.commits(now, self.members.agents)
        self.events += [f"commit of step {commit.save.step} by worker {agent.label()}" for agent, commit in commits]
        if (commit_at := self.saves.wake_at()) is not None:
            wake_at.append(commit_at)
        self.requests = self.requests.answer(self.intent, self.decision, self._durable(), self._known_step())
        self._look(now)
        return Turn(tuple(commits), self._refuse(now), min(wake_at, default=None))

    def orders(self, agent: AgentId) -> Orders:
        """All that this agent is to be told. Until a restarted rendezvous has settled: what the agent was told before."""
        intent, history = self.intent, self.history
        generation, stage, regroup = history.generation, history.stage, history.regroup
        known = self.members.agents.get(agent)
        if not history.settled and known is not None and known.claim is not None:
            generation, stage, regroup = known.claim.generation, known.claim.stage, known.claim.regroup
        return Orders(
            epoch=self.epoch,
            generation=generation,
            stage=stage,
            regroup=regroup,
            stop=intent.stop,
            save=intent.save,
            keep=intent.keep if intent.keep is not None and agent == keeper(self.members.agents, history.generation) else None,
            checkpoint=self._durable(),
            done=self.decision.done,
            failed=intent.failed,
        )

    def report(self) -> Report:
        """All that the operator is to be told."""
        paces = [pace for agent in self.members.agents.values() for pace in agent.progress.values()]
        members, trouble = self.members.snapshot(), self.members.trouble()
        found = assemble(self._intent, self.history, self.decision, members, paces, self.failures, self.requests, trouble, self.still)
        return found.model_copy(update={"links": self._links[:LONGEST_TEXT], "keeps": is_obeyed(self.members.agents)})

    def live(self) -> Generation | None:
        """The generation that is forming or runs."""
        return self.history.generation if self.history.stage is not Stage.OVER else None

    # --- inside -----------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Are steps being finished?"""
        newest = self.history.generation
        running = newest if newest is not None and self.history.stage is Stage.RUNNING and newest.purpose == "Train" else None
        pairs = [pair for pair in apart(self.history.cuts, now) if pair <= self.members.agents.keys()]
        live = self.live()
        seated = {(seat.member.worker, seat.member.incarnation) for seat in live.seats} if live is not None else set()
        self._links = words_of(pairs, {pod for pair in pairs for pod in pair if live is not None and pod not in seated})
        before = self.still.wait
        self.still.look(self.pulse.awake(now), running, self.members.snapshot(), trouble=self.members.trouble())
        if self.still.wait is not None and self.still.wait != before:
            self.events.append(f"no step for {self.still.seconds:.0f} s: {self.still.wait.words}")

    def _apply(self, now: float, decision: Decision) -> None:
        self.decision = decision
        history, generation = self.history, decision.generation
        if decision.cut:
            formed = history.stage is Stage.RUNNING
            history = replace(history, cuts=with_cut(history.cuts, decision.cut, now, formed=formed))
        if decision.quiet is not None:
            history = replace(history, quiet=decision.quiet)
        match decision.action:
            case Action.NOTHING:
                return
            case Action.ADOPT | Action.RUN:
                running = generation if decision.action is Action.ADOPT else history.generation
                line = running if running is not None and running.purpose == "Train" else history.line
                cuts = formed_with(history.cuts, running, now)
                self.history = replace(history, generation=running, stage=Stage.RUNNING, since=now, settled=True, line=line, cuts=cuts)
            case Action.PROPOSE:
                self.history = replace(history, generation=generation, stage=Stage.PROPOSED, since=now, regroup=False)
            case Action.OVER if not history.settled:
                self.history = replace(history, generation=generation, since=now, settled=True, line=ran(history.claims.values()))
            case Action.OVER:
                self.history = replace(history, stage=Stage.OVER, since=now, regroup=False)
            case Action.REGROUP:
                self.history = replace(history, regroup=True)
        newest = self.history.generation
        if newest is not None:
            self.saves.know(newest)
            self._remember(newest.id)
            seats = f", {len(newest.seats)} members, {newest.purpose}" if decision.action is Action.PROPOSE else ""
            self.events.append(f"{decision.action.value.lower()} {newest.id.label()}{seats}: {decision.reason}")

    def _hear_of(self, now: float, heard: GenerationId | None, orders: Orders | None) -> None:
        """An agent knows of a generation, perhaps of one that this rendezvous does not know."""
        generation = orders.generation if orders is not None else None
        for named in (heard, generation.id if generation is not None else None):
            if named is not None:
                self._remember(named)
                self.history = replace(self.history, heard=max(named, self.history.heard or named))
        if generation is None:
            return
        self.saves.know(generation)
        history = self.history
        if history.settled and history.stage is Stage.OVER and (history.generation is None or generation.id > history.generation.id):
            line = ran([orders]) or history.line
            self.history = replace(history, generation=generation, since=now, line=line)

    def _remember(self, named: GenerationId) -> None:
        history = self.history
        self.history = replace(history, n=max(history.n, named.n), attempt=max(history.attempt, named.attempt))

    def _note(self, report: MemberReport) -> None:
        """What a report tells beyond the member itself: state that was reached, and a failure."""
        if report.state is not None:
            held = max(self.history.held, report.state.attempt)
            self.history = replace(self.history, held=held, attempt=max(self.history.attempt, held))
        if report.phase is Phase.GONE and report.failure is not None:
            self._fail(with_leavers(report.failure, self.members.snapshot()))

    def _fail(self, failure: Failure) -> None:
        if self.failures.add(failure):
            self.events.append(f"member {failure.member.label()} failed: {failure.cause}")

    def _take_trouble(self, agent: Agent, trouble: str) -> None:
        if trouble and trouble != agent.trouble:
            self.events.append(f"worker {agent.id.label()} cannot use the storage: {trouble}")
        agent.trouble = trouble

    def _take_log(self, agent: AgentId, heard: LogPosition) -> None:
        log = with_answer(merge(self.history.log, heard), self.history.log, heard, self.intent.keep)
        if log != self.history.log:
            self.events.append(f"log: entry {log.seq}, attempt {log.attempt}, checkpoint {log.checkpoint}")
        self.history = replace(self.history, log=log)
        self.saves.settle(log)
        generation = self.history.generation
        if generation is not None and self.history.stage is Stage.RUNNING:
            opener = self.members.agents[agent]
            if refuses_to_open(generation, tuple(opener.members.values()), heard):
                self.history = replace(self.history, refused=generation.id)

    def _durable(self) -> int | None:
        """Step of the newest checkpoint of the line of history that the newest generation is on."""
        generation = self.history.generation
        return self.history.durable(generation.id.attempt if generation is not None else 0)

    def _known_step(self) -> int | None:
        """The newest step anybody is known to have finished."""
        attempt = max(self.history.attempt, self._intent.attempt)
        states = [member.state.step for member in self.members.snapshot() if member.state is not None and member.state.attempt == attempt]
        paces = [pace.step for agent in self.members.agents.values() for pace in agent.progress.values()]
        return max([*states, *paces], default=None)

    def _refuse(self, now: float) -> tuple[tuple[AgentId, str], ...]:
        """Forget agents that are not wanted any more, once they hold no seat in what forms or runs."""
        live, intent, found = self.live(), self.intent, []
        if not self.history.settled:
            return ()
        seated = {(seat.member.worker, seat.member.incarnation) for seat in live.seats} if live is not None else set()
        for agent in [agent for agent in self.members.agents.values() if agent.id not in seated]:
            waited = now - max(agent.connected_at, self._intent_at)
            reason = refuse_agent(agent.id, agent.build, waited, intent)
            if reason is not None:
                self.members.disconnect(agent.id)
                self.events.append(f"worker {agent.id.label()} refused: {reason}")
                found.append((agent.id, reason))
        return tuple(found)


def _loss(member: Member, cause: FailureCause, pace: Progress | None) -> Failure:
    return Failure(
        member=member.id,
        cause=cause,
        message="nothing was heard of its agent" if cause is FailureCause.SILENT else "its agent's connection closed",
        step=pace.step if pace is not None and pace.member == member.id else None,
        phase=member.phase,
        generation=member.generation,
    )
