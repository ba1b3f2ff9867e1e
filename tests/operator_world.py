"""A cluster, a rendezvous and a log of plain objects, small enough to see through, that obey what `plan` decides.

Faults are methods; whoever drives the world chooses them. Breaches of the invariants are assertions here, where they happen.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from operator_builders import ADDRESS, CREATED, SETTINGS, make_spec
from operator_claims import Claims
from operator_log import Log
from operator_made import Made
from operator_nodes import Nodes, ended
from operator_rollbacks import Rollbacks
from trainingjob_api.contract.intent import Intent, MemberView, Report
from trainingjob_api.contract.messages import Failure, FailureCause, GenerationId, MemberId
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import MAX_STATUS_BYTES, Status
from trainingjob_operator.controllers.training_job.children import names, revision
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed, Plan, Pod, PodPhase, Role
from trainingjob_operator.controllers.training_job.streams.link import CONNECTING_SECONDS
from trainingjob_operator.engine.values import Manifest

TOTAL_STEPS = 20
EVERY_STEPS = 5


class World:
    """One job and all that is around it."""

    def __init__(self, uid: str = "uid") -> None:
        self.uid = uid
        self.now = CREATED
        self.generation = 1
        self.spec: dict[str, Any] = make_spec(recovery={"maxFailures": 8, "startupTimeoutSeconds": 100})
        self.status = Status()
        self.pods: dict[str, Pod] = {}
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.settings = SETTINGS
        self.made = Made()
        self.intents: dict[int, Intent] = {}
        self.log = Log()
        self.step = 0
        self.memory_attempt = 0
        self.holders: set[tuple[int, int]] = set()
        self.running = False
        self.state_lost = False
        self.stopped: str | None = None
        self.failures: list[Failure] = []
        self.failure_count = 0
        self.silent: dict[tuple[int, int], datetime] = {}
        self.report: Report | None = None
        self.reporting = False
        self.heard = self.began = CREATED  # the rendezvous was heard last; this operator began
        self.noted: set[str] = set()
        self.nodes = Nodes()
        self.children_first = True
        self.inherited = True
        self._observed: set[str] = set()
        self.unnamed: set[str] = set()  # pods that an operator made and named in no status
        self.claims = Claims()
        self.rollbacks = Rollbacks()

    # --- what the operator does -----------------------------------------------------------

    def job(self) -> TrainingJob:
        metadata = {"name": "digits", "namespace": "team", "uid": self.uid, "generation": self.generation, "creationTimestamp": CREATED}
        return TrainingJob.model_validate({"metadata": metadata, "spec": self.spec, "status": self.status.to_object()})

    def observe(self) -> Observed:
        report = self._current_report()
        silent = {
            index: (self.now - since).total_seconds()
            for (index, incarnation), since in self.silent.items()
            if self._is_newest(index, incarnation)
        }
        return Observed(
            job=self.job(),
            pods=tuple(self.nodes.seen(pod, self.now) for pod in self.pods.values()),
            objects=frozenset(self.objects),
            pinned=revision.read(kept) if (kept := self.objects.get((revision.KIND, self.status.revision))) else None,
            rendezvous_address=ADDRESS if any(kind == "Service" for kind, _ in self.objects) else None,
            report=report,
            reporting=self.reporting and report is not None,
            unheard_seconds=(self.now - self.heard).total_seconds(),
            connecting=self.report is None and (self.now - self.began).total_seconds() < CONNECTING_SECONDS,
            silent_seconds=silent,
            children_first=self.children_first,
            inherited=self.children_first and self.inherited,
        )

    def operate(self, killed_after: int | None = None) -> Plan:
        """One pass of the operator, which dies after `killed_after` actions."""
        seen = self.observe()
        self._observed = {pod.name for pod in seen.pods}
        decided = plan(seen, self.settings, self.now)
        if not seen.reporting:
            self.claims.check_unheard(seen.job.status, decided.status, self.heard, self.now)
        status: list[Any] = [("status", decided.status)] if decided.status != seen.job.status else []
        children: list[Any] = [("create", manifest) for manifest in decided.create]
        actions = [*children, *status] if decided.children_first else [*status, *children]
        actions += [("delete", deletion) for deletion in decided.delete]
        actions += [("intent", decided.intent)] if decided.intent is not None else []
        for number, (kind, value) in enumerate(actions):
            if killed_after is not None and number >= killed_after:
                self.inherited = True
                if self.status.attempt == 0:
                    self.made.begin()  # a start that nobody noted is made again, whole
                self.unnamed = {pod.name for pod in self.pods.values() if not self._is_named(pod)}
                return decided
            getattr(self, f"_{kind}")(value)
        self.inherited = False
        return decided

    def _status(self, status: Status) -> None:
        old = self.status
        self._check_growth(old, status)
        self._check_replacements(old, status)
        if not self._at_rest(old):
            self.rollbacks.begin(self.log, old, status)
        self.claims.check(old, status, self.report, self.now)
        if self._at_rest(old) and not self._at_rest(status):
            self.made.begin()
        assert len(status.model_dump_json(by_alias=True, exclude_none=True)) < MAX_STATUS_BYTES
        self.status = Status.model_validate(status.to_object())
        self.noted |= self._observed
        self.unnamed = set() if self._at_rest(status) else self.unnamed

    def _check_growth(self, old: Status, new: Status) -> None:
        assert new.attempt >= old.attempt
        assert new.rendezvous.epoch >= old.rendezvous.epoch
        before = {worker.index: worker.incarnation for worker in old.workers}
        after = {worker.index: worker.incarnation for worker in new.workers}
        assert all(after[index] >= incarnation for index, incarnation in before.items())
        assert new.ledger_mark is not None
        assert abs(sum(new.ledger.values()) - (new.ledger_mark - CREATED).total_seconds()) < 1e-6

    def _check_replacements(self, old: Status, new: Status) -> None:
        if self._at_rest(old):
            return  # nothing of it is to run: a new life begins
        asked = self.spec["workers"]["replicas"]
        before = {worker.index: worker.incarnation for worker in old.workers}
        for worker in new.workers:
            incarnation = before.get(worker.index)
            if incarnation is None or incarnation == worker.incarnation or worker.index >= asked:
                continue
            pod = self._worker(worker.index, incarnation)
            silence = self.silent.get((worker.index, incarnation))
            evidence = pod is None or pod.over() or pod.deleting or self._is_lost(pod)
            assert evidence or (silence is not None and (self.now - silence).total_seconds() >= 30), f"worker {worker.index} was healthy"

    @staticmethod
    def _at_rest(status: Status) -> bool:
        conditions = (status.condition(kind) for kind in ("Suspended", "Complete", "Failed"))
        released = status.is_released()
        return released or any(condition is not None and condition.status == "True" for condition in conditions)

    def _create(self, manifest: Manifest) -> None:
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        if kind != "Pod":
            self.objects[kind, name] = manifest
            return
        assert name not in self.noted | self.unnamed, f"{name} has been seen, and is made again"
        self.made.take(manifest)
        labels = manifest["metadata"]["labels"]
        role = Role(labels[names.ROLE_LABEL])
        number = int(labels[names.EPOCH_LABEL if role is Role.RENDEZVOUS else names.INCARNATION_LABEL])
        index = int(labels.get(names.WORKER_INDEX_LABEL, 0))
        living = [pod for pod in self.pods.values() if (pod.role, pod.index, pod.incarnation) == (role, index, number) and not pod.over()]
        assert not living, f"{name}: two living pods of one worker and incarnation"
        self.pods[name] = Pod(name=name, role=role, phase=PodPhase.PENDING, index=index, incarnation=number, created=self.now)

    def _is_named(self, pod: Pod) -> bool:
        if pod.role is Role.RENDEZVOUS:
            return self.status.rendezvous.epoch >= pod.incarnation
        return {worker.index: worker.incarnation for worker in self.status.workers}.get(pod.index, -1) >= pod.incarnation

    def _delete(self, deletion: Any) -> None:
        if deletion.kind == "Pod" and deletion.name in self.pods:
            pod = self.pods[deletion.name]
            if deletion.grace_seconds == 0:
                self.nodes.check_forced(pod, self.now, self._current_report(), self.holders, at_rest=self._at_rest(self.status))
                self._remove(pod)
            elif pod.over() or (pod.phase is PodPhase.PENDING and not self.nodes.holds(pod, self.now)):
                self._remove(pod)
            else:
                self._mark(pod)

    def _intent(self, intent: Intent) -> None:
        assert intent.epoch == self.status.rendezvous.epoch
        assert intent.attempt == self.status.attempt
        self.intents[intent.epoch] = intent

    # --- what the world does --------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.heard = self.now if self.reporting else self.heard

    def start_pods(self) -> None:
        for name in self.pods:
            self.start_pod(name)

    def start_pod(self, name: str) -> None:
        pod = self.pods[name]
        if pod.phase is PodPhase.PENDING and not pod.deleting and name not in self.nodes.lost:
            self.pods[name] = replace(pod, phase=PodPhase.RUNNING)

    def end_deleting(self) -> None:
        for pod in ended(self.pods, self.nodes):
            self._remove(pod)

    def train(self) -> None:
        """One step of whatever the rendezvous and its members would do."""
        intent = self._intent_in_force()
        if intent is None:
            return
        seats = {(seat.worker, seat.incarnation) for seat in intent.workers}
        members = {key for key in self._members() if key in seats and key not in self.silent}
        if members:
            self.rollbacks.answer(self.log, intent.keep)
        self.holders &= set(self._members())
        self.running = False
        if intent.failed is not None or intent.stop is not None:
            self._leave(intent)
        elif self.log.done and intent.restore.kind != "Step":
            self._exit(done=True)
        elif len(members) >= intent.min_workers:
            self._go_on(intent, members)

    def _go_on(self, intent: Intent, members: set[tuple[int, int]]) -> None:
        self.state_lost = False
        if self.memory_attempt != intent.attempt or not self.holders & members:
            if self.log.attempt >= intent.attempt:
                self.state_lost = self.log.opened == intent.attempt
                return
            self.rollbacks.open(self.log, intent.restore)
            self.step = self.log.open(intent.attempt, intent.restore)
            self.memory_attempt = intent.attempt
            self.claims.stepped = self.now
        elif not self.claims.stall:
            self.step += 1
            self.claims.stepped = self.now
        self.holders, self.running = set(members), True
        if self.step % EVERY_STEPS == 0 and self.step and self.step not in self.log.checkpoints:
            self.log.save(self.step)
        if self.step >= TOTAL_STEPS:
            self.log.done = True
            self._exit(done=True)

    def _leave(self, intent: Intent) -> None:
        if intent.stop is not None and intent.failed is None:
            if self.holders and self.step and self.step > max(self.log.checkpoints, default=0):
                self.log.save(self.step)
            self.stopped = intent.stop.request
        self._exit(done=False)

    def _exit(self, *, done: bool) -> None:
        for pod in list(self.pods.values()):
            if pod.name in self.nodes.lost:
                continue  # nobody can say that it has left
            if pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING and not pod.deleting:
                self.pods[pod.name] = replace(pod, phase=PodPhase.SUCCEEDED, exit_code=0, termination=Termination(code=0, done=done))
        self.holders, self.running = set(), False

    def deliver(self) -> None:
        """The newest report comes in."""
        intent = self._intent_in_force()
        self.reporting = intent is not None
        if intent is None:
            return
        self.heard = self.now
        members = tuple(MemberView(worker=index, incarnation=incarnation, phase="Stepping") for index, incarnation in sorted(self.holders))
        attempt = self.memory_attempt if self.running else 0
        self.report = Report(
            epoch=intent.epoch,
            attempt=intent.attempt,
            generation=GenerationId(attempt, intent.epoch, 1) if self.running else None,
            stage="Running" if self.running else "Over",
            world=len(members),
            members=members,
            step=self.step if self.running else None,
            total_steps=TOTAL_STEPS,
            loss=1.0 / (1 + self.step),
            log=self.log.position(),
            keeps=self.rollbacks.keeps,
            state_lost=self.state_lost,
            stopped=self.stopped,
            failures=tuple(self.failures[-20:]),
            failure_count=self.failure_count,
            **self.claims.told(self.now, running=self.running),
        )

    # --- faults ---------------------------------------------------------------------------

    def restart_operator(self) -> None:
        """Another operator begins, which has not heard the rendezvous yet."""
        self.report, self.reporting, self.inherited = None, False, True
        self.heard = self.began = self.now

    def fail(self, name: str, code: int) -> None:
        pod = self.pods.get(name)
        if pod is not None and not pod.over() and name not in self.nodes.lost:
            self.pods[name] = replace(pod, phase=PodPhase.FAILED if code else PodPhase.SUCCEEDED, exit_code=code)
            self._forget(pod)

    def vanish(self, name: str) -> None:
        if name in self.pods:
            self._remove(self.pods[name])

    def evict(self, name: str) -> None:
        if name in self.pods and not self.pods[name].over():
            self._mark(self.pods[name])

    def lose_node(self, name: str, *, heard: bool) -> None:
        """The control plane does not hear the pod's node any more; `heard`: the job's other pods do."""
        pod = self.pods.get(name)
        if pod is None or pod.over():
            return
        self.nodes.lose(pod, heard=heard)
        if not heard:
            self.silence(name)
        if pod.deleting:
            self.nodes.holds(pod, self.now)

    def find_node(self, name: str) -> None:
        """It is back."""
        self.nodes.come_back(name)

    def silence(self, name: str) -> None:
        pod = self.pods.get(name)
        if pod is not None and pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING:
            self.silent.setdefault((pod.index, pod.incarnation), self.now)

    def speak(self) -> None:
        self.silent.clear()

    def crash_process(self, name: str) -> None:
        """A training process dies; its agent starts it again."""
        pod = self.pods.get(name)
        if pod is not None and pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING:
            member = MemberId(pod.index, pod.incarnation, 0, self.failure_count)
            self.failures.append(Failure(member=member, cause=FailureCause.CRASH, step=self.step, message="boom"))
            self.failure_count += 1
            self.holders.discard((pod.index, pod.incarnation))

    def edit(self, **fields: Any) -> None:
        """The user changes the manifest."""
        self.spec = self.spec | fields
        self.generation += 1

    # --- inner ----------------------------------------------------------------------------

    def _worker(self, index: int, incarnation: int) -> Pod | None:
        found = (pod for pod in self.pods.values() if (pod.role, pod.index, pod.incarnation) == (Role.WORKER, index, incarnation))
        return next(found, None)

    def _is_newest(self, index: int, incarnation: int) -> bool:
        numbers = [pod.incarnation for pod in self.pods.values() if pod.role is Role.WORKER and pod.index == index]
        return max(numbers, default=None) == incarnation

    def _members(self) -> list[tuple[int, int]]:
        alive = (pod for pod in self.pods.values() if pod.role is Role.WORKER and pod.phase is PodPhase.RUNNING and not pod.deleting)
        return [(pod.index, pod.incarnation) for pod in alive]

    def _intent_in_force(self) -> Intent | None:
        alive = (pod for pod in self.pods.values() if pod.role is Role.RENDEZVOUS and pod.phase is PodPhase.RUNNING and not pod.deleting)
        epochs = [pod.incarnation for pod in alive if pod.incarnation in self.intents and pod.name not in self.nodes.cut]
        return self.intents[max(epochs)] if epochs else None

    def _current_report(self) -> Report | None:
        return self.report if self.report is not None and self.report.epoch == self.status.rendezvous.epoch else None

    def _is_lost(self, pod: Pod) -> bool:
        return self.nodes.is_evidence(pod, self._current_report(), reporting=self.reporting)

    def _mark(self, pod: Pod) -> None:
        self.nodes.holds(pod, self.now)
        self.pods[pod.name] = replace(pod, deleting=True)

    def _remove(self, pod: Pod) -> None:
        del self.pods[pod.name]
        self.nodes.come_back(pod.name)
        self._forget(pod)

    def _forget(self, pod: Pod) -> None:
        if pod.role is Role.WORKER:
            self.holders.discard((pod.index, pod.incarnation))
            self.silent.pop((pod.index, pod.incarnation), None)
        else:
            self.failures, self.failure_count, self.reporting = [], 0, False
