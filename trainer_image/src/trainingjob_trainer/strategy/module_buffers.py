"""The buffers that forward passes change: batch normalisation's statistics and the like. Effects: the model's buffers.

Every lane starts from the buffers as they were when the step began. What a lane makes of them is taken at its end, and they are
put back at once; when the sums over all lanes are there, `apply` sets what all ranks go on with. The policy decides what that is:

    Mean      the lanes' changes, weighted, travel in the step's tail; a buffer that nobody changes keeps its bits
    Rank0     the first lane's bytes are broadcast
    PerRank   each rank keeps what its lane made
    Keep      nothing; a cache that has grown stays
    none      a counter is treated like Rank0, if all lanes have made the same of it; any other buffer must not change
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from trainingjob_trainer.learning.buffers import Policy
from trainingjob_trainer.learning.caches import NewCaches
from trainingjob_trainer.strategy.buffer_places import Place, differing, places, real_view, refuse_new_names
from trainingjob_trainer.transport.port import Pending, Transport

_CHECK = 3
"""Numbers in the tail that show whether the lanes agree on a counter: lanes, sum of h, sum of h * h; h is a hash of its value."""
_HASH_MASK = 0xFFFF
"""So few bits that the sums are exact in float64, for more than a thousand lanes."""


class ModuleBuffers:
    """The buffers of a model, and what they were before the step.

    Args:
        model: on its final device.
        policies: of all its buffers, by name; see learning.buffers.buffer_policies.
    """

    def __init__(self, model: nn.Module, policies: Mapping[str, Policy | None]) -> None:
        self._model = model
        self._places = list(places(model, policies))
        self._averaged = [place for place in self._places if place.policy is Policy.MEAN]
        self._others = [place for place in self._places if place.policy is not Policy.MEAN]
        self._counters = [place for place in self._places if place.is_counter]
        self._sent = [place for place in self._places if place.policy is Policy.RANK0 or place.is_counter]
        self._sizes = [real_view(place.tensor).numel() for place in self._averaged]
        self._changes = sum(self._sizes)
        self.width = self._changes + _CHECK * len(self._counters)
        """Elements in the tail."""
        self._bytes = torch.cat([_to_bytes(place.tensor) for place in self._sent]) if self._sent else torch.empty(0, dtype=torch.uint8)
        self._caches = NewCaches(model)
        self._attempt: int | None = None
        self._names_are_known = False

    @torch.no_grad()
    def keep(self, attempt: int) -> None:
        """Remember the buffers: a generation begins, and all its ranks hold one state of this attempt."""
        for place in self._places:
            if place.first is not None and self._attempt not in (None, attempt):
                place.tensor.copy_(place.first)  # what this rank has made belongs to another line of history
            place.before = place.tensor.detach().clone()
        self._attempt = attempt
        self._names_are_known = False

    @torch.no_grad()
    def put_back(self) -> None:
        """Make them what they were when the step began, whatever has happened to them."""
        self._caches.remove()
        for place in self._places:
            place.own = None
            place.take_grown()
            place.put_back(copy=differing([place.tensor], [place.before])[0])

    @torch.no_grad()
    def end_lane(self, weight: float, into: Tensor, *, leads: bool, votes: bool = True) -> None:
        """Take what a lane made of the buffers, and put them back.

        Args:
            weight: the lane's.
            into: float64, `width` elements; gets the lane's part of the sum.
            leads: the lane is the first of all: what it made is what `launch` broadcasts.
            votes: its counters must be the other lanes'. A lane that goes through the model less often has no say.

        Raises:
            UserMistake: a buffer has changed of which nothing is known, or has lost its shape or type.
        """
        self._caches.remove()
        self._refuse_new_names()
        for place in self._others:
            place.take_grown()
        if self._averaged:
            change = _flatten([place.value() for place in self._averaged]) - self._base()
            into[: self._changes] = change.mul_(weight) if weight else 0.0
        values = [place.value() for place in self._others]
        changed = differing(values, [place.before for place in self._others])
        for place, value, has_changed in zip(self._others, values, changed, strict=True):
            if has_changed:
                _take(place, value)
        if self._counters:
            into[self._changes :] = 0.0
        if self._counters and votes:
            checks = [number for place in self._counters for number in _check(place.value())]
            into[self._changes :] = torch.tensor(checks, dtype=torch.float64)
        if leads and self._sent:
            torch.cat([_to_bytes(place.value()) for place in self._sent], out=self._bytes)
        for place, has_changed in zip((*self._averaged, *self._others), (*(True for _ in self._averaged), *changed), strict=True):
            place.put_back(copy=has_changed)

    def launch(self, transport: Transport) -> list[Pending]:
        """Begin to broadcast the first lane's bytes, if a buffer wants it."""
        return [transport.broadcast(self._bytes, 0)] if self._sent else []

    def check(self, total: Tensor) -> None:
        """Compare what the lanes made of the counters.

        Args:
            total: the sum of all lanes' parts.

        Raises:
            UserMistake: they differ.
        """
        rows = total[self._changes :].view(-1, _CHECK).tolist()
        for place, (lanes, hashes, squares) in zip(self._counters, rows, strict=True):
            if lanes * squares != hashes * hashes:
                raise place.ask_for_policy(", and not all workers alike")

    @torch.no_grad()
    def apply(self, total: Tensor, weight: float) -> None:
        """Set what all ranks go on with.

        Args:
            total: the sum of all lanes' parts.
            weight: the sum of all lanes' weights; without any, the averaged buffers stay what they are.
        """
        if self._averaged and weight:
            moved = self._base() + total[: self._changes] / weight
            for place, part in zip(self._averaged, torch.split(moved, self._sizes), strict=True):
                real = real_view(place.tensor)
                real.copy_((part if real.is_floating_point() else part.round()).view_as(real))
                place.before.copy_(place.tensor)
        pieces = torch.split(self._bytes, [place.tensor.nbytes for place in self._sent]) if self._sent else ()
        for place, piece in zip(self._sent, pieces, strict=True):
            place.tensor.copy_(piece.clone().view(place.tensor.dtype).view(place.tensor.shape))  # a clone is aligned
            place.before.copy_(place.tensor)
        for place in self._others:
            if place.own is not None:
                place.tensor.copy_(place.own)
                place.before, place.own = place.own, None

    def _base(self) -> Tensor:
        """What changes are counted from: the averaged buffers before the step, and 0 where they were not finite: inf - inf is NaN."""
        flat = _flatten([place.before for place in self._averaged])
        return torch.where(flat.isfinite(), flat, 0.0)

    def _refuse_new_names(self) -> None:
        """Once a generation: forward must not register buffers, since a new worker's model would not have them."""
        if self._names_are_known:
            return
        self._names_are_known = True
        known = {place.name for place in self._places}
        refuse_new_names(self._model, known)


def _take(place: Place, value: Tensor) -> None:
    """What a lane's change of a buffer that is not averaged leads to."""
    if place.policy is Policy.PER_RANK:
        place.own = value.clone()
    elif place.policy is None and not place.is_counter:
        raise place.ask_for_policy("")


def _check(value: Tensor) -> tuple[float, float, float]:
    number = float(crc32(bytes(_to_bytes(value).tolist())) & _HASH_MASK)
    return 1.0, number, number * number


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([real_view(tensor).double().flatten() for tensor in tensors])


def _to_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)
