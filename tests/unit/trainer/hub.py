"""An agent and a rendezvous for the tests: speaks to real training processes as those two would, in one process.

Its policy is the life of a generation in a few lines: propose among the idle, run when all have formed, over at a death.
Tests steer it: which slots there are, whether a lost one is waited for, what is in storage.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from trainingjob_agent.stamp import StampPage
from trainingjob_api.contract.channel import (
    PROCESS_MESSAGE,
    Arena,
    ExportModel,
    NeedArena,
    OpenAttempt,
    Opened,
    Pace,
    ProcessEnvironment,
    Released,
    Snapshot,
    Standing,
    UserError,
)
from trainingjob_api.contract.messages import (
    Generation,
    GenerationId,
    MemberId,
    Orders,
    Phase,
    Restore,
    SaveId,
    Seat,
    Source,
    Stage,
    State,
    Stop,
    StoreReply,
    StoreRequest,
)
from trainingjob_api.storage.layout import shard_name
from unit.trainer.processes import DEADLINE, Trainee, Zygote
from unit.trainer.saves import Save


class Hub:
    """All of a job but its training processes.

    Args:
        zygote: makes processes.
        spec: the job's spec.
        slots: how many ranks the job wants.
        wait: whether a generation waits for all slots; otherwise the living go on at once.
    """

    def __init__(self, zygote: Zygote, spec: dict[str, Any], slots: int = 3, *, wait: bool = True) -> None:
        self.zygote, self.spec, self.slots, self.wait_for_all = zygote, spec, slots, wait
        self.changed = threading.Condition(threading.RLock())
        self.trainees: dict[int, Trainee] = {}
        self.lives: dict[int, int] = {}
        self.attempt, self.n = 1, 0
        self.opened_attempt = 0
        self.restore_from: SaveId | None = None
        self.saves: dict[SaveId, Save] = {}
        self.committed: list[SaveId] = []
        self.commits = True
        self.stuck: set[int] = set()
        """Slots whose uploads do not end."""
        self.lends: int | None = None
        """How many arenas a process gets before the next one is kept back; None: all."""
        self._unlent: list[tuple[Trainee, NeedArena]] = []
        self._unreleased: list[tuple[Trainee, Released]] = []
        self.user_errors: list[str] = []
        self.exported: list[tuple[bytes, ExportModel]] = []
        self.orders = Orders(epoch=1)
        self.generations: list[Generation] = []
        self.pids: list[int] = []
        self.ever: list[Trainee] = []
        self.paused = False
        self._store: dict[str, dict[str, str]] = {}
        self._waiting: list[tuple[Trainee, StoreRequest]] = []
        self._files: list[int] = []
        self.on_snapshot: Callable[[Trainee, Snapshot], None] = lambda trainee, snapshot: None
        self.on_standing: Callable[[Trainee, Standing], None] = lambda trainee, standing: None

    # --- processes ----------------------------------------------------------------

    def start(self, *slots: int) -> None:
        for slot in slots or range(self.slots):
            self._start(slot)

    def _start(self, slot: int) -> None:
        life = self.lives[slot] = self.lives.get(slot, -1) + 1
        ours, theirs = socket.socketpair()
        stamp = StampPage(f"{slot}")
        output = os.open(self.zygote.folder / f"{id(self)}-{slot}-{life}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        member = MemberId(slot, 0, 0, life)
        environment = ProcessEnvironment(
            job="tests/toy",
            config=json.dumps(self.spec),
            channel=0,
            stamp=0,
            worker=slot,
            incarnation=0,
            process=0,
            life=life,
            interface="lo",
        )
        pid = self.zygote.start(environment.to_env(), [theirs.fileno(), stamp.descriptor, output])
        theirs.close()
        os.close(output)
        trainee = Trainee(member, slot, pid, ours, stamp)
        with self.changed:
            self.trainees[slot] = trainee
            self.ever.append(trainee)
            self.pids.append(pid)
            trainee.say(self.orders)
            trainee.reader = threading.Thread(target=self._read, args=(trainee,), daemon=True)
            trainee.reader.start()

    def kill(self, slot: int) -> None:
        os.kill(self.trainees[slot].pid, signal.SIGKILL)

    def log(self, slot: int, life: int = 0) -> str:
        return (self.zygote.folder / f"{id(self)}-{slot}-{life}.log").read_text()

    def close(self) -> None:
        """End all processes; may be called again."""
        with self.changed:
            self.paused = True
            for trainee in self.ever:
                if not trainee.gone:
                    trainee.connection.shutdown(socket.SHUT_RDWR)
        for pid in self.pids:
            self.zygote.ended(pid)
        for trainee in self.ever:
            trainee.reader.join(DEADLINE)
            trainee.connection.close()
            trainee.stamp.close()
        for descriptor in self._files:
            os.close(descriptor)
        self.ever, self._files = [], []

    # --- waiting ------------------------------------------------------------------

    def wait(self, predicate: Callable[[], bool], what: str = "", timeout: float = DEADLINE) -> None:
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                logs = "\n".join(self.log(slot, self.lives[slot]) for slot in self.trainees)
                raise AssertionError(f"did not happen: {what}\norders {self.orders}\n{logs}")

    def wait_for(self, predicate: Callable[[], bool], what: str) -> None:
        """For what no message tells: looked at every millisecond."""
        pause = threading.Event()
        until = time.monotonic() + DEADLINE
        while not predicate():
            assert time.monotonic() < until, f"did not happen: {what}"
            pause.wait(0.001)

    def wait_step(self, slot: int, step: int) -> None:
        """Until a process computes `step` or a later one, as its stamp page says."""
        trainee = self.trainees[slot]
        self.wait_for(lambda: (trainee.stamp.read().step or 0) >= step or trainee.gone, f"slot {slot} reaches step {step}")

    def store_keys(self) -> list[str]:
        """What the newest generation's group has put into the store."""
        return [key for space in self._store.values() for key in space]

    def wait_done(self) -> None:
        self.wait(lambda: self.orders.done or bool(self.user_errors), "done")
        assert not self.user_errors, self.user_errors
        for slot in self.trainees:
            assert self.zygote.ended(self.trainees[slot].pid) == 0, self.log(slot, self.lives[slot])

    def wait_all_idle(self) -> None:
        self.wait(lambda: all(trainee.idle() for trainee in self.trainees.values()), "all idle")

    def final(self) -> dict[str, torch.Tensor]:
        """The tensors of the newest committed checkpoint."""
        save = self.committed[-1]
        return self.saves[save].tensors(save)

    def at(self, step: int) -> dict[str, torch.Tensor]:
        save = next(save for save in reversed(self.committed) if save.step == step)
        return self.saves[save].tensors(save)

    # --- orders -------------------------------------------------------------------

    def tell(self, **changes: Any) -> None:
        with self.changed:
            self.orders = self.orders.model_copy(update=changes)
            for trainee in self.trainees.values():
                trainee.say(self.orders)
            self.changed.notify_all()

    def rollback(self, save: SaveId | None) -> None:
        """A new attempt from a checkpoint, or from the beginning."""
        with self.changed:
            self.attempt += 1
            self.restore_from = save
            self.committed = [] if save is None else self.committed[: self.committed.index(save) + 1]
            self.tell(regroup=True, checkpoint=None if save is None else save.step)
            self._decide()

    def unstick(self) -> None:
        """All uploads end."""
        with self.changed:
            self.stuck.clear()
            for trainee, released in self._unreleased:
                trainee.say(released)
            self._unreleased.clear()

    def stop(self, *, save: bool = True) -> None:
        self.tell(stop=Stop(request="stop", save=save))

    def propose(self, purpose: str = "Train", members: list[Trainee] | None = None, source: Source | None = None) -> None:
        with self.changed:
            members = sorted(members or self.trainees.values(), key=lambda trainee: trainee.slot)
            self.n += 1
            seats = tuple(Seat(member=trainee.member, slot=trainee.slot, address="127.0.0.1") for trainee in members)
            generation = Generation(
                id=GenerationId(self.attempt, 1, self.n),
                seats=seats,
                source=source or self._source(members),
                restore=Restore(),
                purpose=purpose,
                reason="test",
            )
            self.generations.append(generation)
            self._store = {generation.id.label(): {}}
            for trainee, request in self._waiting:
                trainee.say(StoreReply(id=request.id, error="over"))
            self._waiting = []
            self.tell(generation=generation, stage=Stage.PROPOSED, regroup=False)

    def _source(self, members: list[Trainee]) -> Source:
        states = [(rank, trainee.standing.state) for rank, trainee in enumerate(members) if trainee.standing is not None]
        held: list[tuple[int, State]] = [(rank, state) for rank, state in states if state is not None and state.attempt == self.attempt]
        if not held:
            return Source(kind="Storage")
        rank, state = max(held, key=lambda pair: (*pair[1].key(), -pair[0]))
        return Source(kind="Peer", rank=rank, state=state)

    def _decide(self) -> None:
        """The quorum's place: called after everything that happens."""
        if self.paused or self.orders.done:
            return None
        living = [trainee for trainee in self.trainees.values() if not trainee.gone]
        generation, stage = self.orders.generation, self.orders.stage
        if generation is not None and stage is not Stage.OVER:
            seated = [trainee for trainee in self.trainees.values() if generation.rank_of(trainee.member) is not None]
            lost = len(seated) < len(generation.seats) or any(trainee.gone for trainee in seated)
            mine = [trainee for trainee in seated if trainee.standing is not None and trainee.standing.generation == generation.id]
            left = [trainee for trainee in mine if trainee.idle()]
            if lost or (stage is Stage.RUNNING and len(left) == len(seated)):
                self.tell(stage=Stage.OVER)
            elif stage is Stage.PROPOSED and len(mine) == len(seated) and all(trainee.standing.phase is Phase.FORMED for trainee in mine):
                self.tell(stage=Stage.RUNNING)
            elif stage is Stage.RUNNING and not self.orders.regroup and any(trainee.idle() and trainee not in seated for trainee in living):
                self.tell(regroup=True)
            return self._decide() if self.orders.stage is Stage.OVER else None
        ready = [trainee for trainee in living if trainee.idle()]
        enough = len(ready) == self.slots if self.wait_for_all else bool(ready) and not any(trainee.running() for trainee in living)
        if self.orders.stop is None and enough and not any(trainee.running() for trainee in living):
            self.propose(members=ready)
        return None

    # --- what the processes say ---------------------------------------------------

    def _read(self, trainee: Trainee) -> None:
        try:
            for line in trainee.connection.makefile("rb"):
                with self.changed:
                    self._take(trainee, PROCESS_MESSAGE.validate_json(line))
                    self._decide()
                    self.changed.notify_all()
        except OSError:
            pass
        with self.changed:
            trainee.gone = True
            self._decide()
            self.changed.notify_all()

    def _take(self, trainee: Trainee, message: Any) -> None:
        match message:
            case Standing():
                trainee.standing = message
                trainee.standings.append(message)
                self.on_standing(trainee, message)
            case Pace():
                trainee.paces.append(message)
            case StoreRequest():
                self._answer(trainee, message)
            case NeedArena():
                self._give_arena(trainee, message)
            case OpenAttempt():
                trainee.opened.append(message)
                trainee.say(self._open(message))
            case Snapshot():
                self._keep(trainee, message)
            case ExportModel():
                self.exported.append((self._arena(trainee, message.buffer, message.length), message))
                trainee.say(Released(buffer=message.buffer))
                self.tell(done=True)
            case UserError():
                self.user_errors.append(message.message)

    def _answer(self, trainee: Trainee, request: StoreRequest) -> None:
        space = self._store.get(request.prefix)
        if space is None:
            trainee.say(StoreReply(id=request.id, error="over"))
            return
        key = request.keys[0]
        match request.operation:
            case "set":
                space[key] = request.value
            case "add":
                total = int(base64.b64decode(space.get(key, base64.b64encode(b"0").decode()))) + int(request.value)
                space[key] = base64.b64encode(str(total).encode()).decode()
                trainee.say(StoreReply(id=request.id, value=str(total)))
            case "check":
                trainee.say(StoreReply(id=request.id, value=str(int(all(key in space for key in request.keys)))))
            case "delete":
                trainee.say(StoreReply(id=request.id, value=str(int(space.pop(key, None) is not None))))
            case _:
                self._waiting.append((trainee, request))
        if request.operation == "set":
            trainee.say(StoreReply(id=request.id, value=""))
        for waiting in list(self._waiting):
            asker, wanted = waiting
            if all(key in space for key in wanted.keys):
                self._waiting.remove(waiting)
                asker.say(StoreReply(id=wanted.id, value=space[wanted.keys[0]] if wanted.operation == "get" else ""))

    def lend(self) -> None:
        """Give what was kept back, and keep nothing back any more."""
        with self.changed:
            self.lends = None
            for trainee, need in self._unlent:
                trainee.needs.remove(need)
                self._give_arena(trainee, need)
            self._unlent.clear()

    def _give_arena(self, trainee: Trainee, need: NeedArena) -> None:
        trainee.needs.append(need)
        if self.lends is not None and len(trainee.needs) > self.lends:
            self._unlent.append((trainee, need))
            return
        trainee.arena = os.memfd_create("arena")
        self._files.append(trainee.arena)
        trainee.arena_bytes = -(-need.bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(trainee.arena, need.buffers * trainee.arena_bytes)
        offsets = tuple(index * trainee.arena_bytes for index in range(need.buffers))
        trainee.first, trainee.lent = trainee.lent, trainee.lent + need.buffers
        trainee.say(Arena(path=f"/proc/{os.getpid()}/fd/{trainee.arena}", offsets=offsets, bytes=need.bytes, first=trainee.first))

    def _arena(self, trainee: Trainee, buffer: int, length: int) -> bytes:
        return os.pread(trainee.arena, length, (buffer - trainee.first) * trainee.arena_bytes)

    def _open(self, request: OpenAttempt) -> Opened:
        self.opened_attempt = request.generation.attempt
        if self.restore_from is None:
            return Opened(generation=request.generation)
        save, files = self.saves[self.restore_from], {}
        for rank, (data, _) in save.shards.items():
            descriptor = os.memfd_create("shard")
            self._files.append(descriptor)
            os.write(descriptor, data)
            files[shard_name(rank)] = f"/proc/{os.getpid()}/fd/{descriptor}"
        return Opened(manifest=save.manifest(self.restore_from).to_bytes().decode(), files=files, generation=request.generation)

    def _keep(self, trainee: Trainee, snapshot: Snapshot) -> None:
        data = self._arena(trainee, snapshot.buffer, snapshot.length)
        if trainee.slot in self.stuck:
            self._unreleased.append((trainee, Released(buffer=snapshot.buffer)))
        else:
            trainee.say(Released(buffer=snapshot.buffer))
        generation = next(generation for generation in self.generations if generation.id == snapshot.save.generation)
        save = self.saves.setdefault(snapshot.save, Save(len(generation.seats)))
        save.shards[snapshot.rank] = (data, snapshot)
        self.on_snapshot(trainee, snapshot)
        if save.whole() and self.commits and snapshot.save.generation.attempt == self.attempt:
            self.committed.append(snapshot.save)
            self.tell(checkpoint=snapshot.save.step)
