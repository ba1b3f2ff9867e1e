"""torch.distributed for the user's own code: one process group for the life of the process. Effects: collectives of the transport.

The generation's group is another one after every fault, while the user's modules may keep a group for good. So this object stays, and
hands each call to the group that the transport has now. It is torch's default group while a step computes losses and gradients, and
at no other time: models are built, evaluated and exported without it.

A lost peer surfaces as `Interrupted`, out of forward and backward passes alike. Before a collective the ranks compare what each is
about to call: gloo ends the process, or gives wrong sums, when sizes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store, Work, _register_process_group
from torch.distributed import distributed_c10d as c10d

from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.learning.sync_batch_norm import synchronise_on_cpus
from trainingjob_trainer.transport.port import Interrupted, Pending, Transport

_NAME: Any = "trainingjob"
_LONG = timedelta(days=1)
"""Torch's own limit would end a collective whose peer is slow; a lost one is found in other ways."""
_FIELD = "spec.training.task.class"
_END = "no further collective"
_TYPES = sorted((value for value in vars(torch).values() if isinstance(value, torch.dtype)), key=str)

Sized = Callable[..., Sequence[Tensor]]
"""Of a call's arguments: the tensors whose sizes must be equal at all ranks."""


def _first(tensors: Sequence[Tensor], *_: Any) -> Sequence[Tensor]:
    return tensors


def _second(_: Any, tensors: Any, *__: Any) -> Sequence[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else tensors


def _output(tensor: Tensor, *_: Any) -> Sequence[Tensor]:
    return [tensor]


def _nothing(*_: Any) -> Sequence[Tensor]:
    return []


_CALLS: dict[str, tuple[str, Sized]] = {
    "allreduce": ("all_reduce", _first),
    "allreduce_coalesced": ("all_reduce_coalesced", _first),
    "allgather": ("all_gather", _second),
    "_allgather_base": ("all_gather_into_tensor", _second),
    "all_gather_single": ("all_gather_into_tensor", _second),
    "allgather_into_tensor_coalesced": ("all_gather_into_tensor", _second),
    "broadcast": ("broadcast", _first),
    "reduce": ("reduce", _first),
    "gather": ("gather", _second),
    "scatter": ("scatter", _first),
    "reduce_scatter": ("reduce_scatter", _first),
    "_reduce_scatter_base": ("reduce_scatter_tensor", _output),
    "reduce_scatter_single": ("reduce_scatter_tensor", _output),
    "reduce_scatter_tensor_coalesced": ("reduce_scatter_tensor", _first),
    "alltoall": ("all_to_all", _nothing),
    "alltoall_base": ("all_to_all_single", _nothing),
    "barrier": ("barrier", _nothing),
}
"""The backend's method → torch.distributed's name, and what must be of equal size."""
_COALESCED = {"allgather_into_tensor_coalesced": "_allgather_base", "reduce_scatter_tensor_coalesced": "_reduce_scatter_base"}
"""What gloo does not have in one call."""
_OPERATIONS = [_END, *sorted({name for name, _ in _CALLS.values()})]
_REFUSED = ("send", "recv", "recv_anysource", "monitored_barrier", "split_group", "merge_remote_group")


class UserGroup(dist.ProcessGroup):
    """The default process group of the user's code.

    Args:
        transport: has the generation's group.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__(0, 1)  # type: ignore[call-arg] # one of its two constructors
        self._transport = transport
        self._rank, self._world = 0, 1
        self._steps = self._calls = 0
        self._device = torch.device("cpu")
        self._trouble: Callable[[], str] = str
        self._open: list[_UserWork] = []
        self._store = _NoStore(self._refuse_further_groups)
        self._closed = True
        self.used = False
        """The user's code has called a collective, at whatever rank: a step's reductions must not begin before its last one."""
        self.interrupted = False
        """A peer was lost in this step's collectives, whatever the user's code made of the exception."""
        self.mistake: UserMistake | None = None
        """What was raised out of this step's collectives, whatever the user's code made of it."""
        _register_process_group(_NAME, self)
        synchronise_on_cpus()

    def start(self, rank: int, world: int, device: torch.device, trouble: Callable[[], str]) -> None:
        """A generation begins.

        Args:
            rank: of this process.
            world: number of ranks.
            device: on which the transport carries tensors.
            trouble: asked at a step's first collective: why this job cannot have any, "" if it can. The same at all ranks.
        """
        self._rank, self._world, self._device, self._trouble = rank, world, device, trouble
        self._steps = 0
        c10d._world.pg_group_ranks[self] = {each: each for each in range(world)}

    @property
    def may_overlap(self) -> bool:
        """Whether a step's reductions may begin before its backward pass ends: the same at all ranks of a generation."""
        return self._steps > 0 and not self.used

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Make this the default group while a step is computed.

        Raises:
            Interrupted: a peer was lost in one of the user's collectives.
            UserMistake: a collective was called that cannot be.
        """
        self._closed = self.interrupted = False
        self.mistake, self._calls = None, 0
        self._open.clear()
        before = c10d._world.default_pg
        self._enter()
        try:
            yield
        except Exception as error:
            self._raise_own(error)
            raise
        finally:
            c10d._world.default_pg = before
        self._raise_own(None)

    def _enter(self) -> None:
        world = c10d._world
        backend = "nccl" if self._device.type == "cuda" else "gloo"
        world.pg_map[self] = (backend, self._store)
        world.pg_names[self] = _NAME
        world.pg_backend_config[self] = f"{self._device.type}:{backend}"
        world.pg_group_ranks.setdefault(self, {each: each for each in range(self._world)})
        world.default_pg = self

    def _raise_own(self, cause: Exception | None) -> None:
        if self.mistake is not None:
            raise self.mistake from cause
        if self.interrupted:
            raise Interrupted from cause

    def close(self) -> None:
        """The step's losses and gradients are there: no collective of the user's may follow.

        Raises:
            Interrupted: a peer is lost.
            UserMistake: another rank is about to call one.
        """
        if self._closed:
            return
        for work in list(self._open):
            work.wait()
        if self._world > 1 and not self.may_overlap:
            self._compare(_END, [], ())
        self._closed = True
        self._steps += 1

    # --- what torch asks of a group --------------------------------------------------

    def rank(self) -> int:
        """This process's number in the generation."""
        return self._rank

    def size(self) -> int:
        """Processes of the generation."""
        return self._world

    getRank, getSize = rank, size  # noqa: N815 - as C++ asks for them

    def getBackendName(self) -> str:  # noqa: N802
        """A name that stands for no backend: all calls come here."""
        return str(_NAME)

    @property
    def group_name(self) -> Any:
        """The name under which functional collectives find this group."""
        return _NAME

    def _call(self, method: str, arguments: Sequence[Any]) -> Work:
        name, sized = _CALLS[method]
        self._refuse_if_troubled(name)
        self.used = True
        self._calls += 1
        named = f"{name} {self._calls}"
        if self._world > 1:
            self._compare(name, sized(*arguments), arguments, named)
        works = [self._begin(each, some) for each, some in _single(method, arguments)]
        work = _UserWork(self, works, named)
        self._open.append(work)
        return work

    def _begin(self, method: str, arguments: Sequence[Any]) -> Pending:
        group = self._transport.group()
        if group is None:
            self._lost()
        for argument in arguments:
            if hasattr(argument, "timeout"):
                argument.timeout = _LONG
        try:
            return getattr(group, method)(*arguments)  # type: ignore[no-any-return]
        except RuntimeError:
            if self._transport.group() is None:
                self._lost()  # it was cut between the question and the call
            raise

    def _refuse_if_troubled(self, name: str) -> None:
        if self._closed:
            self._mistaken(
                f"torch.distributed.{name} is called for the first time in a backward pass, after the gradients' reduction has begun;"
                " call a collective in the forward pass of every step, or in every step's loss"
            )
        trouble = self._trouble()
        if trouble:
            self._mistaken(f"torch.distributed.{name}: {trouble}")

    def _compare(self, name: str, tensors: Sequence[Tensor], arguments: Sequence[Any], named: str = "") -> None:
        """Let all ranks see what each is about to call, and whether any has called one before: a new worker has not."""
        root = next((argument.rootRank for argument in arguments if hasattr(argument, "rootRank")), -1)
        numbers = [_OPERATIONS.index(name), sum(tensor.numel() for tensor in tensors), len(tensors), root]
        kinds = [_TYPES.index(tensors[0].dtype) if tensors else -1]
        row = torch.tensor([*numbers, *kinds, self.used], dtype=torch.int64, device=self._device)
        rows = row.new_zeros(self._world, len(row))
        self.settle([self._transport.all_gather(rows, row)], named)
        self.used = bool(rows[:, -1].any())
        calls = rows[:, :-1].tolist()
        other = next((rank for rank in range(self._world) if calls[rank] != calls[0]), None)
        if other is not None:
            self._mistaken(
                f"the workers' collectives do not match: rank 0 calls {_describe(calls[0])}, rank {other} {_describe(calls[other])};"
                " every worker must call the same ones, with tensors of one size. A batch's parts differ by one sample where the number of"
                " workers does not divide it: pad to one size, or choose globalBatchSize and split accordingly"
            )

    def settle(self, works: Sequence[Pending], named: str = "") -> None:
        """Wait for collectives. `named` is the user's call that they belong to, for the message of a stall.

        Raises:
            Interrupted: a peer is lost.
        """
        self._transport.calling = named
        good = self._transport.settle(works)
        self._transport.calling = ""
        if not good:
            self._lost()

    def done(self, work: _UserWork) -> None:
        """It has been waited for."""
        if work in self._open:
            self._open.remove(work)

    def _refuse_further_groups(self) -> NoReturn:
        self._mistaken("torch.distributed.new_group is not offered to a task: use the default group")

    def _lost(self) -> NoReturn:
        self.interrupted = True
        raise Interrupted

    def _mistaken(self, text: str) -> NoReturn:
        self.mistake = UserMistake(f"{_FIELD}: {text}")
        raise self.mistake


class _UserWork(Work):
    """A collective of the user's under way."""

    def __init__(self, group: UserGroup, works: Sequence[Pending], named: str) -> None:
        super().__init__()
        self._group, self._works, self._named = group, works, named

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for its end, however long it takes.

        Raises:
            Interrupted: a peer is lost.
        """
        works, self._works = self._works, []
        self._group.settle(works, self._named)
        self._group.done(self)
        return True

    def is_completed(self) -> bool:
        """It has ended, well or badly."""
        return all(work.is_completed() for work in self._works)

    def get_future(self) -> Any:
        """A future that has its result."""
        self.wait()
        future: Any = torch.futures.Future()
        future.set_result(None)
        return future


class _NoStore(Store):
    """In the place of the default group's store: whoever forms a further group asks it for something, and is refused."""

    def __init__(self, refuse: Callable[[], NoReturn]) -> None:
        super().__init__()
        for method in ("set", "get", "add", "wait", "check"):
            setattr(self, method, lambda *_, **__: refuse())


def _single(method: str, arguments: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """The calls of the backend that make up a call."""
    if method in _COALESCED:
        outputs, inputs, *rest = arguments
        for output, tensor in zip(outputs, inputs, strict=True):
            yield _COALESCED[method], (output, tensor, *rest)
    else:
        yield method, arguments


def _describe(call: Sequence[int]) -> str:
    operation, elements, tensors, root, kind = call
    name = _OPERATIONS[operation]
    if not tensors:
        return name
    of = str(_TYPES[kind]).removeprefix("torch.")
    return f"{name} of {elements} {of}" + (f" from rank {root}" if root >= 0 else "")


def _make(method: str) -> Callable[..., Work]:
    def call(self: UserGroup, *arguments: Any, **named: Any) -> Work:
        return self._call(method, (*arguments, *named.values()))

    call.__name__ = method
    return call


def _make_refusal(method: str) -> Callable[..., NoReturn]:
    def call(self: UserGroup, *_: Any, **__: Any) -> NoReturn:
        self._mistaken(f"torch.distributed.{method} is not offered to a task: use collectives, such as all_gather and broadcast")

    call.__name__ = method
    return call


for _method in _CALLS:
    setattr(UserGroup, _method, _make(_method))
for _method in _REFUSED:
    setattr(UserGroup, _method, _make_refusal(_method))
