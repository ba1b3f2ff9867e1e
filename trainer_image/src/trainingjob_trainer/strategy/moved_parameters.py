"""Parameters that forward or the loss sets itself: teachers, averaged copies, clipped weights. Effects: these parameters.

Every lane starts from the parameters as they were when the step began. What the lanes make of them must be the same: the tail carries a
hash. All ranks go on with it after the step. A parameter that follows the samples differs from lane to lane; it belongs into a buffer.

Parameters that have moved or were written to are copied when a step begins. Of all others a process's first steps compare digests. From
then on a change of one of these is noticed by its version, its place in memory, and two of its elements. The bits decide what has moved,
by copy or by digest. Where there is neither, a lane cannot tell whether code wrote what was there already: its hash is compared with
those of lanes that cannot tell either, since a new process can. Then the ranks compare what each parameter is to be, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trainingjob_trainer.checkpoint.flat import read_bytes
from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.strategy.buffer_places import bits_of
from trainingjob_trainer.strategy.drift import digest, first_difference
from trainingjob_trainer.transport.port import Interrupted, Transport

WIDTH = 6
"""Numbers in the tail: lanes that have a say, the sum of h, the sum of h * h; h is a hash of what a lane made, and 0 if nothing moved. Then
the same for lanes that cannot tell."""
COMPARED_STEPS = 3
"""A teacher that is still what its student is may move in the second step only, or in the third."""
_PRIME = 65521
"""Hashes are less than this: the sums are exact in float64."""


class MovedParameters:
    """See the module.

    Args:
        model: on its final device.
    """

    def __init__(self, model: nn.Module) -> None:
        self._named = list(model.named_parameters())
        self._known: set[int] = set()
        self._before: dict[int, Tensor] = {}
        self._digests: dict[int, Tensor] = {}
        self._after: dict[int, Tensor] = {}
        self._steps = 0
        self.is_lost = False
        """A parameter that was not known to move has moved in this step, and this process does not have its old value."""
        self._marks: list[tuple[int, int]] = []
        self._probes: list[list[Tensor]] = []
        self._probed: list[Tensor] = []

    @torch.no_grad()
    def keep(self, *, several: bool = False, skips: bool = False, whole: bool = False) -> None:
        """A step begins.

        Args:
            several: this rank computes several lanes: the second one is to begin as the first one, whatever moves. It holds all lanes'
                gradients, too, so a copy of the parameters is little beside them.
            skips: the step may be passed over and training go on: a parameter that moves in the first steps is to be put back, even
                where no peer has its old value.
            whole: all parameters are to be put back, whatever moves.
        """
        self._after, self.is_lost = {}, False
        self._before = {number: _copy(self._named[number][1]) for number in self._known}
        self._digests = {}
        for number, (_, parameter) in enumerate(self._named):
            if number in self._known:
                continue
            if whole or (skips and self._compares) or (several and (self._compares or parameter.device.type == "cpu")):
                self._before[number] = parameter.detach().to("cpu", copy=True)
            elif self._compares:
                self._digests[number] = digest(parameter)
        self._mark()

    @torch.no_grad()
    def put_back(self) -> None:
        """Make the parameters what they were when the step began."""
        self._restore(self._moved())

    def _restore(self, moved: Sequence[int]) -> None:
        for number in moved:
            if number in self._before:
                self._named[number][1].data.copy_(self._before[number])
            else:
                self._digests.pop(number, None)
                self.is_lost = True
        if moved:
            self._mark()

    @torch.no_grad()
    def end_lane(self, into: Tensor, *, votes: bool) -> None:
        """Take what a lane made of the parameters, and put them back.

        Args:
            into: float64, WIDTH elements; gets the lane's part of the sum.
            votes: it must be what the other lanes make of them. A lane that goes through the model less often has no say.
        """
        moved = self._moved()
        knows = all(number in self._before or number in self._digests for number in moved)
        self._known.update(moved)
        if moved and not self._after:
            self._after = {number: _copy(self._named[number][1]) for number in moved}
        hashed = float(_hash(self._named[number][1] for number in moved)) if moved else 0.0
        part = [1.0, hashed, hashed * hashed] if votes else 3 * [0.0]
        into.copy_(torch.tensor([*part, *3 * [0.0]] if knows else [*3 * [0.0], *part], dtype=torch.float64))
        self._restore(moved)

    def check(self, total: Tensor) -> bool:
        """Compare the lanes.

        Args:
            total: the sum of all lanes' parts.

        Returns:
            Whether a parameter has moved.

        Raises:
            UserMistake: what the lanes made differs.
        """
        lanes, hashes, squares, unsure, unsure_hashes, unsure_squares = total.tolist()
        if lanes * squares != hashes * hashes or unsure * unsure_squares != unsure_hashes * unsure_hashes:
            raise _mistake(", ".join(self._named[number][0] for number in sorted(self._after)[:3]) or "a parameter")
        return bool(hashes + unsure_hashes > 0)

    @torch.no_grad()
    def compare(self, total: Tensor, transport: Transport, world: int) -> None:
        """Where a lane could not tell what has moved: compare what each parameter is to be. All ranks call it.

        Args:
            total: the sum of all lanes' parts.
            transport: carries it.
            world: how many ranks there are.

        Raises:
            UserMistake: the ranks differ.
            Interrupted: a peer is lost.
        """
        if world == 1 or not total[3] > 0:
            return
        device = self._named[0][1].device
        numbers = torch.stack([digest(self._after.get(at, each)).to(device) for at, (_, each) in enumerate(self._named)])
        rows = numbers.new_zeros(world, len(numbers))
        if not transport.settle([transport.all_gather(rows, numbers)]):
            raise Interrupted
        found = first_difference(rows.tolist(), [name for name, _ in self._named])
        if found is not None:
            raise _mistake(found[0])

    @torch.no_grad()
    def spread(self, transport: Transport) -> None:
        """Give rank 0's to the ranks whose lanes had no say. All ranks call it.

        Raises:
            Interrupted: a peer is lost.
        """
        mask = torch.zeros(len(self._named), dtype=torch.uint8, device=self._named[0][1].device)
        mask[sorted(self._after)] = 1
        _broadcast(transport, mask)
        self._after = {
            number: _copy(self._named[number][1]) if number not in self._after else self._after[number]
            for number in mask.nonzero()[:, 0].tolist()
        }
        self._known.update(self._after)
        for value in self._after.values():
            _broadcast(transport, value.reshape(-1).view(torch.uint8))

    @torch.no_grad()
    def apply(self) -> None:
        """Go on with what the lanes made."""
        for number, value in self._after.items():
            self._named[number][1].data.copy_(value)
        self._steps += 1

    @property
    def _compares(self) -> bool:
        """In the first steps."""
        return self._steps < COMPARED_STEPS

    def _mark(self) -> None:
        """Remember by what a change is noticed."""
        marks = [(parameter._version, parameter.data_ptr()) for _, parameter in self._named]
        if [place for _, place in marks] != [place for _, place in self._marks]:
            self._probes = _probes(parameter for _, parameter in self._named)
        self._marks = marks
        self._probed = [torch.stack(group) for group in self._probes]

    def _moved(self) -> list[int]:
        """The parameters that have changed since `_mark`, or may have."""
        marked = [(parameter._version, parameter.data_ptr()) for _, parameter in self._named]
        touched = {number for number, (one, other) in enumerate(zip(marked, self._marks, strict=True)) if one != other}
        if any(not torch.equal(torch.stack(group), probed) for group, probed in zip(self._probes, self._probed, strict=True)):
            touched.update(self._differing())
        if self._compares:
            self._known |= touched  # so that there is a copy when comparing ends
        digests = {number: digest(self._named[number][1]) for number in self._digests}
        others = set(self._unequal(digests))
        return sorted(number for number in touched | self._before.keys() | others if self._has_moved(number, others))

    def _unequal(self, digests: Mapping[int, Tensor]) -> Iterable[int]:
        """Those whose digest is another one than at the step's beginning."""
        if not digests:
            return ()
        same = (torch.stack(list(digests.values())) == torch.stack([self._digests[number] for number in digests])).tolist()
        return (number for number, is_same in zip(digests, same, strict=True) if not is_same)

    def _has_moved(self, number: int, others: Collection[int]) -> bool:
        """Of a parameter that was written to, or is compared."""
        if number in self._before:
            return not _is_same(self._named[number][1], self._before[number])
        return number not in self._digests or number in others

    def _differing(self) -> Iterable[int]:
        pairs = zip(self._probes, self._probed, strict=True)
        old = {probe.data_ptr(): value for group, probed in pairs for probe, value in zip(group, probed, strict=True)}
        for number, (_, parameter) in enumerate(self._named):
            for probe in _probes_of(parameter):
                if probe.data_ptr() in old and not torch.equal(probe, old[probe.data_ptr()]):
                    yield number


def _mistake(which: str) -> UserMistake:
    return UserMistake(
        f"spec.training.task.class: forward or loss changes {which}, and not alike for all parts of a batch;"
        " what follows the samples belongs into a buffer with a policy (Task.buffers())"
    )


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().clone(memory_format=torch.contiguous_format)


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit: NaN equals NaN."""
    return torch.equal(read_bytes(one, 0, one.numel()), read_bytes(other.to(one.device), 0, other.numel()))


def _hash(parameters: Iterable[Tensor]) -> int:
    """1 to _PRIME."""
    found = 0
    for parameter in parameters:
        found = (31 * found + int(digest(parameter))) % _PRIME
    return found + 1


def _probes(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Views of two elements of each parameter as bits, in groups of one type and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        for probe in _probes_of(parameter):
            groups.setdefault((probe.dtype, probe.device), []).append(probe)
    return list(groups.values())


def _probes_of(parameter: Tensor) -> list[Tensor]:
    if not parameter.numel():
        return []
    value, shape = bits_of(parameter), parameter.shape
    found = value[tuple(size // 2 for size in shape)], value[tuple(size - 1 for size in shape)]
    return [part for each in found for part in each.reshape(-1).unbind()]  # a complex element has two


def _broadcast(transport: Transport, tensor: Tensor) -> None:
    if not transport.settle([transport.broadcast(tensor, 0)]):
        raise Interrupted
