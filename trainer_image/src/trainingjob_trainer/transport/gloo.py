"""The transport over gloo, for CPUs. Effects: sockets and threads of this process.

A ProcessGroupGloo is made directly, without torch's global process group, so that a generation's group can be dropped
and the next one stand beside what is left of it. A group is never destroyed: its destructor joins threads while holding
the interpreter's lock, and has been seen to hang. What remains of a cut group is two idle threads and no connection.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import AllgatherOptions, AllreduceOptions, BroadcastOptions, ProcessGroupGloo

from trainingjob_api.contract.channel import Links
from trainingjob_api.contract.messages import Generation
from trainingjob_trainer.transport import sockets
from trainingjob_trainer.transport.links import LOOK_SECONDS, LinkWatch
from trainingjob_trainer.transport.port import Forming, NeverBegan, Pending
from trainingjob_trainer.transport.store import Ask, ChannelStore

logger = logging.getLogger(__name__)

FORM_SECONDS = 30.0
"""How long gloo itself waits for a peer while a group is formed."""
COLLECTIVE = timedelta(days=1)
"""gloo's own limit of a collective. Long: a lost peer closes its connections, and a hung one is the agents' to find, by the stamps."""

ASK_AGAIN = timedelta(milliseconds=100)
"""How often a wait for a collective looks whether the generation was interrupted meanwhile."""

Group = Any
"""A ProcessGroupGloo. torch's stubs do not know its methods."""

_kept: list[Group] = []


class GlooTransport:
    """See transport.port.Transport.

    Args:
        ask: the channel's store call.
        interface: the network interface to use; None: the one of the seat's address, if that is an IP address.
        tell: sends what is seen of the connections to the agent.
        patience_seconds: for how long a connection must get no answer to count as cut.
    """

    def __init__(
        self,
        ask: Ask,
        interface: str | None = None,
        tell: Callable[[Links], None] = lambda links: None,
        patience_seconds: float = 1.0,
    ) -> None:
        self._ask = ask
        self._links = LinkWatch(tell, patience_seconds)
        self._interface = interface
        self.calling = ""
        self._lock = threading.Lock()
        self._group: Group | None = None
        self._forming = Forming.NOTHING
        self._ticket = 0
        self._streams: frozenset[sockets.Stream] = frozenset()
        self._leftover: frozenset[sockets.Stream] = frozenset()
        self._device: ProcessGroupGloo.Device | None = None

    @property
    def forming(self) -> Forming:
        """How far the group is."""
        return self._forming

    def form(self, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        """Begin to form the group in a side thread. Peers of the generation before have all left: its connections are cut now."""
        self.interrupt()
        with self._lock:
            sockets.cut(self._leftover)
            self._leftover = frozenset()
            self._ticket += 1
            self._forming = Forming.PENDING
            self._links.begin(generation, rank)
            ticket = self._ticket
        threading.Thread(target=self._watch_forming, args=(ticket,), name=f"watch-{generation.id.label()}", daemon=True).start()
        arguments = (ticket, generation, rank, ended)
        threading.Thread(target=self._form, args=arguments, name=f"form-{generation.id.label()}", daemon=True).start()

    def _watch_forming(self, ticket: int) -> None:
        """Tell whom this process cannot connect to, as long as the group is being formed."""
        while True:
            time.sleep(LOOK_SECONDS)
            with self._lock:
                if self._ticket != ticket or self._forming is not Forming.PENDING:
                    return
                self._links.waits(None)

    def _form(self, ticket: int, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        before = sockets.established()
        group: Group | None = None
        try:
            store = ChannelStore(self._ask, generation.id.label(), timedelta(seconds=FORM_SECONDS))
            options = _make_options()
            options._timeout = timedelta(seconds=FORM_SECONDS)
            options._devices = [self._listen(generation.seats[rank].address)]
            group = ProcessGroupGloo(store, rank, len(generation.seats), options)
            _kept.append(group)
        except (RuntimeError, TimeoutError) as error:
            logger.warning("generation %s: the group could not be formed: %s", generation.id.label(), error)
        finally:  # whatever happened: somebody waits
            self._formed(ticket, group, sockets.established() - before)
            ended()

    def _formed(self, ticket: int, group: Group | None, streams: frozenset[sockets.Stream]) -> None:
        with self._lock:
            if ticket == self._ticket:
                self._group, self._streams = group, streams
                self._forming = Forming.FAILED if group is None else Forming.FORMED
                self._links.ended()
            else:
                sockets.cut(streams)

    def _listen(self, address: str) -> ProcessGroupGloo.Device:
        if self._device is None:
            if self._interface not in (None, "lo"):
                self._device = ProcessGroupGloo.create_device(interface=self._interface)
            else:
                self._device = ProcessGroupGloo.create_device(hostname="127.0.0.1" if self._interface == "lo" else _host(address))
        return self._device

    def interrupt(self) -> None:
        """Cut this generation's connections, and abandon a group that is being formed."""
        with self._lock:
            self._ticket += 1
            self._group = None
            self._forming = Forming.NOTHING
            sockets.cut(self._streams)
            self._streams = frozenset()

    def retire(self) -> None:
        """Drop the group, but leave its connections until the next one is formed: a slower peer may still be reading."""
        with self._lock:
            self._ticket += 1
            self._group = None
            self._forming = Forming.NOTHING
            self._leftover |= self._streams
            self._streams = frozenset()

    def all_reduce(self, tensor: Tensor) -> Pending:
        """Sum over ranks, in place. Every rank gets the same bits."""
        return self._launch(lambda group: group.allreduce([tensor], _reduce_options()))

    def all_gather(self, output: Tensor, tensor: Tensor) -> Pending:
        """Every rank's tensor, in rank order, as the rows of `output`."""
        pieces = list(torch.split(output.view(-1), tensor.numel()))
        options = AllgatherOptions()
        options.timeout = COLLECTIVE
        return self._launch(lambda group: group.allgather([pieces], [tensor.view(-1)], options))

    def broadcast(self, tensor: Tensor, root: int) -> Pending:
        """Rank `root`'s tensor for all, in place."""
        options = BroadcastOptions()
        options.rootRank, options.timeout = root, COLLECTIVE
        return self._launch(lambda group: group.broadcast([tensor], options))

    def group(self) -> Group | None:
        """The generation's group."""
        return self._group

    def _launch(self, begin: Callable[[Group], Pending]) -> Pending:
        group = self._group
        if group is None:
            return NeverBegan()
        try:
            return begin(group)
        except RuntimeError as error:
            logger.info("a collective could not begin: %s", _first_line(error))
            return NeverBegan()

    def settle(self, works: Sequence[Pending]) -> bool:
        """Wait for all; after a failure the connections are cut first, so that the rest, and the peers, end at once too."""
        good, ticket = True, self._ticket
        for work in works:
            try:
                self._wait(work, ticket)
                self._links.ended()
            except RuntimeError as error:
                if good:
                    logger.info("a collective failed: %s", _first_line(error))
                    self.interrupt()
                good = False
        return good

    def _wait(self, work: Pending, ticket: int) -> None:
        """Wait for one collective. One that gloo began just when its connections were cut may never end: it is abandoned.

        Nothing can arrive for an abandoned one any more, so it does not write into its tensor.
        """
        while True:
            interrupted = self._ticket != ticket
            try:
                work.wait(ASK_AGAIN)
            except RuntimeError:
                if interrupted and not work.is_completed():
                    _kept.append(work)
                if interrupted:
                    raise
                if work.is_completed():
                    # It ended while the time-out was on its way here: what it says now is its verdict.
                    work.wait(ASK_AGAIN)
                    return
                self._links.waits(self._streams)
            else:
                return


def _make_options() -> Any:
    return getattr(ProcessGroupGloo, "_Options")()  # noqa: B009 - the stubs know it by another name


def _reduce_options() -> AllreduceOptions:
    options = AllreduceOptions()
    options.timeout = COLLECTIVE
    return options


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _host(address: str) -> str:
    """The address if it is an IP address, else nothing: gloo then takes what this machine's name stands for."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""
