"""A group that is over leaves nothing behind: no thread, no descriptor. Real gloo on loopback; the ranks are threads of this process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from local_job import until
from trainingjob_api.contract.messages import Generation, GenerationId, MemberId, Seat, Source, StoreReply, StoreRequest
from trainingjob_trainer.transport import past
from trainingjob_trainer.transport.gloo import GlooTransport
from trainingjob_trainer.transport.past import Over, PastGroups, Standing
from trainingjob_trainer.transport.port import Forming

WORLD = 3
DEADLINE = 60.0


class Rendezvous:
    """The store of all generations."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()

    def ask(self, request: StoreRequest) -> StoreReply:
        (key,) = (f"{request.prefix}/{key}" for key in request.keys)
        with self._changed:
            if request.operation == "set":
                self._values[key] = request.value
                self._changed.notify_all()
            elif request.operation == "add":
                self._values[key] = str(int(self._values.get(key, "0")) + int(request.value))
                self._changed.notify_all()
            else:
                assert request.operation in ("get", "wait")
                assert self._changed.wait_for(lambda: key in self._values, DEADLINE)
            return StoreReply(id=0, value=self._values[key])


def generation(number: int) -> Generation:
    seats = tuple(Seat(member=MemberId(rank, 0, 0, 0), slot=rank, address="127.0.0.1") for rank in range(WORLD))
    return Generation(id=GenerationId(1, 1, number), seats=seats, source=Source(kind="Storage"))


class Ranks:
    """The same processes over many generations."""

    def __init__(self) -> None:
        rendezvous = Rendezvous()
        self.transports = [GlooTransport(rendezvous.ask, "lo") for _ in range(WORLD)]
        self._together = threading.Barrier(WORLD)
        self._errors: list[BaseException] = []

    def regroup(self, number: int, leave: Callable[[Ranks, int], None]) -> None:
        """Form a group, take a step, and let each rank leave."""
        threads = [threading.Thread(target=self._rank, args=(number, rank, leave), daemon=True) for rank in range(WORLD)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert self._errors == []

    def _rank(self, number: int, rank: int, leave: Callable[[Ranks, int], None]) -> None:
        transport, ended = self.transports[rank], threading.Event()
        try:
            transport.form(generation(number), rank, ended.set)
            assert ended.wait(DEADLINE)
            assert transport.forming is Forming.FORMED
            tensor = torch.ones(1 << 14)
            assert transport.settle([transport.all_reduce(tensor)])
            assert tensor[0] == WORLD
            self.together()
            leave(self, rank)
            self.together()
        except BaseException as error:
            self._errors.append(error)
            self._together.abort()

    def together(self) -> None:
        self._together.wait(DEADLINE)


def in_order(ranks: Ranks, rank: int) -> None:
    ranks.transports[rank].retire()


def cut(ranks: Ranks, rank: int) -> None:
    ranks.transports[rank].interrupt()


def cut_in_a_collective(ranks: Ranks, rank: int) -> None:
    """The last rank is lost while the others reduce, one sum after the other."""
    transport = ranks.transports[rank]
    works = [transport.all_reduce(torch.ones(1 << 16)) for _ in range(3 if rank < WORLD - 1 else 0)]
    ranks.together()
    if rank == WORLD - 1:
        transport.interrupt()
    else:
        assert not transport.settle(works)


def cut_in_a_users_collective(ranks: Ranks, rank: int) -> None:
    """As the user's own code begins one, on the group itself."""
    transport = ranks.transports[rank]
    works = [transport.group().allreduce([torch.ones(8)])] if rank else []
    ranks.together()
    transport.settle(works) if rank else transport.interrupt()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("leave", [in_order, cut, cut_in_a_collective, cut_in_a_users_collective])
def test_twenty_regroups_leave_no_more_than_the_first(leave: Callable[[Ranks, int], None]) -> None:
    ranks = Ranks()
    ranks.regroup(1, leave)
    until("all is formed", lambda: not forming())
    before = threads(), descriptors()
    for number in range(2, 22):
        ranks.regroup(number, leave)
    until("all is formed", lambda: not forming())
    # A collective that gloo began as its connections were cut may never end: its group keeps its threads.
    over = [standing for transport in ranks.transports for standing, _ in transport._past._kept]
    stuck = sum(not standing.rests() for standing in over)
    assert len(over) - stuck <= WORLD, "the newest of each rank's groups, which go with the next one"
    assert stuck < 20
    assert threads() <= before[0] + 2 * stuck
    assert descriptors() <= before[1]


def forming() -> bool:
    return any(thread.name.startswith(("form-", "watch-")) for thread in threading.enumerate())


class Group:
    """Begins what never ends by itself."""

    def begin(self, work: Work) -> Work:
        return work


class Work:
    def __init__(self) -> None:
        self.ended = False

    def is_completed(self) -> bool:
        return self.ended


def standing(*works: Work) -> tuple[Standing, Callable[[], object]]:
    group = Group()
    made = Standing(group)
    for work in works:
        assert made.begin(lambda group, work=work: group.begin(work)) is work
    return made, weakref.ref(group)


def test_a_group_is_dropped_once_its_collectives_have_ended() -> None:
    groups, work = PastGroups(), Work()
    over, group = standing(work)
    groups.add(over)
    with pytest.raises(Over):
        over.begin(lambda group: group.begin(Work()))
    beside = threading.Thread(target=groups.release, daemon=True)
    beside.start()
    assert group() is not None
    work.ended = True
    beside.join(DEADLINE)
    assert group() is None


def test_a_group_whose_collective_does_not_end_stays_until_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "PATIENCE_SECONDS", 0.0)
    groups, work = PastGroups(), Work()
    stuck, first = standing(work)
    other, second = standing()
    groups.add(stuck)
    groups.add(other)
    groups.release()
    assert first() is not None
    assert second() is None
    work.ended = True
    groups.release()
    assert first() is None


def test_what_has_ended_is_held_no_longer() -> None:
    ended, running = Work(), Work()
    made, _ = standing(ended, running)
    ended.ended = True
    seen = weakref.ref(ended)
    del ended
    made.forget_ended()
    assert seen() is None
    assert not made.rests()


def test_a_group_has_the_methods_of_torchs_and_no_others() -> None:
    made, _ = standing()
    work = Work()
    assert made.begin(lambda group: group.begin(work)) is work
    with pytest.raises(AttributeError):
        made.__no_such_attribute__  # noqa: B018
