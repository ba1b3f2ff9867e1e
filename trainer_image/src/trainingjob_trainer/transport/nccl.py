"""The transport over NCCL, for GPUs. Effects: sockets, threads and the GPU of this process.

This module has not been run on a GPU: it is the same port as gloo's, written after NCCL's documented behaviour. What
differs: collectives run on the GPU's streams, so the verdict needs one synchronisation a step; and an aborted collective
leaves garbage behind, so nothing may be queued after it before the verdict.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainingjob_api.contract.messages import Generation
from trainingjob_trainer.transport.port import Forming, NeverBegan, Pending
from trainingjob_trainer.transport.store import Ask, ChannelStore

logger = logging.getLogger(__name__)

FORM_SECONDS = 120.0

_kept: list[Any] = []


class NcclTransport:
    """See transport.port.Transport.

    Args:
        ask: the channel's store call.
        device: this process's GPU.
    """

    def __init__(self, ask: Ask, device: torch.device) -> None:
        self._ask = ask
        self._device = device
        self.calling = ""
        self._lock = threading.Lock()
        self._group: Any = None
        self._forming = Forming.NOTHING
        self._ticket = 0

    @property
    def forming(self) -> Forming:
        """How far the group is."""
        return self._forming

    def form(self, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        """Begin to form the group in a side thread; its first collective makes the communicator."""
        self.interrupt()
        with self._lock:
            self._ticket += 1
            self._forming = Forming.PENDING
            ticket = self._ticket
        arguments = (ticket, generation, rank, ended)
        threading.Thread(target=self._form, args=arguments, name=f"form-{generation.id.label()}", daemon=True).start()

    def _form(self, ticket: int, generation: Generation, rank: int, ended: Callable[[], None]) -> None:
        group: Any = None
        try:
            torch.cuda.set_device(self._device)
            store = ChannelStore(self._ask, generation.id.label(), timedelta(seconds=FORM_SECONDS))
            options = dist.ProcessGroupNCCL.Options()
            options._timeout = timedelta(days=1)
            group = dist.ProcessGroupNCCL(store, rank, len(generation.seats), options)
            _kept.append(group)
            group.allreduce([torch.zeros(1, device=self._device)]).wait()
            torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            logger.warning("generation %s: the group could not be formed: %s", generation.id.label(), error)
            group = None
        with self._lock:
            if ticket == self._ticket:
                self._group = group
                self._forming = Forming.FAILED if group is None else Forming.FORMED
            elif group is not None:
                group.abort()
        ended()

    def interrupt(self) -> None:
        """Abort the communicator: kernels that wait for a peer end."""
        with self._lock:
            self._ticket += 1
            group, self._group = self._group, None
            self._forming = Forming.NOTHING
        if group is not None:
            group.abort()

    def retire(self) -> None:
        """Nothing is in flight after a settled step: the communicator can go."""
        self.interrupt()

    def all_reduce(self, tensor: Tensor) -> Pending:
        """Sum over ranks, in place."""
        return self._launch(lambda group: group.allreduce([tensor]))

    def all_gather(self, output: Tensor, tensor: Tensor) -> Pending:
        """Every rank's tensor, in rank order, as the rows of `output`."""
        return self._launch(lambda group: group._allgather_base(output.view(-1), tensor.view(-1)))

    def broadcast(self, tensor: Tensor, root: int) -> Pending:
        """Rank `root`'s tensor for all, in place."""
        return self._launch(lambda group: group.broadcast(tensor, root))

    def group(self) -> Any:
        """The generation's group."""
        return self._group

    def _launch(self, begin: Callable[[Any], Pending]) -> Pending:
        group = self._group
        if group is None:
            return NeverBegan()
        try:
            return begin(group)
        except RuntimeError as error:
            logger.info("a collective could not begin: %s", error)
            return NeverBegan()

    def settle(self, works: Sequence[Pending]) -> bool:
        """Wait for the streams; an aborted communicator shows only in its works, so each is asked."""
        good = True
        for work in works:
            try:
                work.wait(timedelta(days=1))
            except RuntimeError as error:
                logger.info("a collective failed: %s", error)
                good = False
        try:
            torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            logger.info("the GPU reports: %s", error)
            good = False
        good = good and self._group is not None
        if not good:
            self.interrupt()
        return good
