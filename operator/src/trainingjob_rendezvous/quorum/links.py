"""Which workers cannot reach each other, though the rendezvous hears both, and who of them stays out for it. Pure.

The evidence is the kernels': data, or a call, that was sent again and again without an answer. After a cut the group is formed again
with all, since the cut may be over. Only a pair that cannot form it either, or is cut again soon, is kept apart for a while. Where the
job cannot train without both, to keep them apart gains nothing: they are tried together every few seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trainingjob_api.backoff import Backoff
from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import Generation
from trainingjob_rendezvous.quorum.members import AgentId, Member
from trainingjob_rendezvous.quorum.waits import named

AGAIN_SECONDS = 60.0
"""A pair that is cut twice within this time is kept apart."""
FIRST_APART_SECONDS, LONGEST_APART_SECONDS = 30.0, 600.0
"""How long a pair is kept apart, doubling each time: every try of one that is still cut costs the others some seconds."""
_APART = Backoff(FIRST_APART_SECONDS, LONGEST_APART_SECONDS)
TOGETHER_SECONDS = 5.0
"""A pair that the job cannot train without is tried together so long after it was seen cut."""

Pair = frozenset[AgentId]
"""Two pods."""


@dataclass(frozen=True)
class Cut:
    """What is remembered of a pair that could not reach each other."""

    at: float
    """When it was seen last."""
    until: float = -math.inf
    """Until then the two do not sit in one generation."""
    times: int = 0
    """How often in a row it was kept apart."""


Cuts = Mapping[Pair, Cut]


def cut_pairs(generation: Generation, members: Sequence[Member]) -> frozenset[Pair]:
    """Return the pairs that the generation's members say are cut."""
    pods = {seat.member.worker: AgentId(seat.member.worker, seat.member.incarnation) for seat in generation.seats}
    seated = {seat.member for seat in generation.seats}
    found = set()
    for member in members:
        if member.id in seated and member.stamp is not None and member.stamp.generation == generation.id:
            found |= {frozenset((member.agent, pods[other])) for other in member.stamp.cut_off if other in pods}
    return frozenset(pair for pair in found if len(pair) == 2)


def quiet_seconds(generation: Generation, members: Sequence[Member]) -> float:
    """Return for how long every rank has waited in a collective and seen no byte move; 0 if one does something else."""
    stamps = [member.stamp for member in members if any(seat.member == member.id for seat in generation.seats)]
    found = [
        stamp.quiet_seconds if stamp.waits() and stamp.generation == generation.id and not stamp.stopped else 0.0
        for stamp in stamps
        if stamp is not None
    ]
    return min(found) if len(found) == len(generation.seats) else 0.0


def with_cut(cuts: Cuts, pairs: Iterable[Pair], now: float, *, formed: bool) -> Cuts:
    """Return what is remembered after these pairs were cut; `formed`: the generation had been formed before."""
    found = dict(cuts)
    for pair in pairs:
        before = found.get(pair, Cut(at=-math.inf))
        if formed and now >= max(before.at, before.until) + AGAIN_SECONDS:
            found[pair] = Cut(at=now)
            continue
        times = before.times + 1 if now < before.until + LONGEST_APART_SECONDS else 1
        if now < before.until:  # it was tried together before its time, since the job cannot train without it
            times = before.times
        found[pair] = Cut(at=now, until=now + _APART.base(times), times=times)
    return {pair: cut for pair, cut in found.items() if now < max(cut.at, cut.until) + LONGEST_APART_SECONDS}


def formed_with(cuts: Cuts, generation: Generation | None, now: float) -> Cuts:
    """Return what is remembered once the generation is formed: none of its pairs is kept apart any more."""
    pods = {AgentId(seat.member.worker, seat.member.incarnation) for seat in generation.seats} if generation is not None else set()
    return {pair: replace(cut, until=min(cut.until, now)) if pair <= pods else cut for pair, cut in cuts.items()}


def newest_cut(cuts: Cuts, pairs: Iterable[Pair]) -> float:
    """Return when one of these pairs was seen cut last."""
    return max((cuts[pair].at for pair in pairs), default=-math.inf)


def is_recent(cuts: Cuts, pairs: Iterable[Pair], now: float) -> bool:
    """All of these pairs have been cut a short while ago."""
    return all(pair in cuts and now < max(cuts[pair].at, cuts[pair].until) + AGAIN_SECONDS for pair in pairs)


def apart(cuts: Cuts, now: float) -> frozenset[Pair]:
    """Return the pairs that are kept apart now."""
    return frozenset(pair for pair, cut in cuts.items() if now < cut.until)


def left_out(pairs: Collection[Pair], present: Iterable[AgentId], intent: Intent, keep: Collection[AgentId] = ()) -> frozenset[AgentId]:
    """Return who stays out so that no pair sits together.

    Of a pair it is the one that holds less of the state, is cut from more, is on the node with fewer workers, has the higher number.

    Args:
        pairs: who is kept apart.
        present: the pods that could take part.
        intent: names the pods' nodes.
        keep: pods that alone hold the newest state.
    """
    here = set(present)
    open_pairs = {pair for pair in pairs if pair <= here}
    nodes = {AgentId(seat.worker, seat.incarnation): seat.node for seat in intent.workers}
    sizes = Counter(nodes.get(pod, "") for pod in here)
    out: set[AgentId] = set()
    while open_pairs:
        degrees = Counter(pod for pair in open_pairs for pod in pair)
        worst = max(degrees, key=lambda pod: (pod not in keep, degrees[pod], -sizes[nodes.get(pod, "")], pod))
        out.add(worst)
        open_pairs = {pair for pair in open_pairs if worst not in pair}
    return frozenset(out)


def words(pairs: Iterable[Pair]) -> str:
    """Return who cannot reach whom, for a person."""
    numbers = sorted(sorted({pod.worker for pod in pair}) for pair in pairs)
    told = [f"{named(pair)} cannot reach each other" for pair in numbers]
    return "; ".join(told[:3]) + (f" and {len(told) - 3} pairs more" if len(told) > 3 else "")


def words_of(pairs: Collection[Pair], out: Collection[AgentId]) -> str:
    """Return the same, and who is left out."""
    if not pairs or not out:
        return words(pairs)
    numbers = sorted({pod.worker for pod in out})
    return f"{words(pairs)}: {named(numbers)} {'is' if len(numbers) == 1 else 'are'} left out"
