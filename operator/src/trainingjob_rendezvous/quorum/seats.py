"""Which member sits in which slot. Pure; decides nothing about when.

Slot = worker * processes_per_worker + process, for the workers below `replicas`. Spares, the workers beyond, fill vacant slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainingjob_api.contract.intent import Intent
from trainingjob_api.contract.messages import MemberId, Seat
from trainingjob_rendezvous.quorum.members import Member

Seating = dict[int, Member]
"""Slot -> member."""


def unit_size(intent: Intent) -> int:
    """Processes, and so slots, of a worker; at least one."""
    return max(1, intent.processes_per_worker)


def own_slot(member: Member, intent: Intent) -> int:
    """The slot that the member's worker and process name; spares have one too, beyond the wanted ones."""
    return member.id.worker * unit_size(intent) + member.id.process


def slots(intent: Intent) -> range:
    """The slots that are to be filled."""
    return range(max(0, intent.replicas) * unit_size(intent))


def wanted(members: Iterable[Member], intent: Intent) -> list[Member]:
    """Those who may hold a rank: the intent lists their pod, their worker has such a process, and their agent stays."""
    pods = {(seat.worker, seat.incarnation) for seat in intent.workers}
    size = unit_size(intent)
    return [member for member in members if not member.leaving and member.id.process < size and member.agent in pods]


def seat(candidates: Iterable[Member], intent: Intent, incumbents: Mapping[MemberId, int]) -> Seating:
    """Give every wanted slot to its own member, and the vacant ones to spares; an incumbent spare keeps its slot."""
    seating: Seating = {}
    spares: list[Member] = []
    for member in sorted(candidates, key=lambda member: member.id):
        slot = own_slot(member, intent)
        if slot in slots(intent):
            seating[slot] = member
        else:
            spares.append(member)
    vacant = [slot for slot in slots(intent) if slot not in seating]
    waiting: list[Member] = []
    for member in spares:
        slot = incumbents.get(member.id, -1)
        if slot in vacant:
            seating[slot] = member
            vacant.remove(slot)
        else:
            waiting.append(member)
    seating.update(zip(vacant, waiting, strict=False))
    return seating


def with_holder(seating: Seating, holder: Member, intent: Intent) -> Seating:
    """Seat `holder`, who alone has the newest state: in its own slot, else in a vacant one, else in the last one."""
    own = own_slot(holder, intent)
    vacant = [slot for slot in slots(intent) if slot not in seating]
    slot = own if own in slots(intent) else vacant[0] if vacant else max(seating, default=own)
    return {**seating, slot: holder}


def ready_times(seating: Seating, intent: Intent) -> list[float]:
    """For each worker all of whose slots are filled: when the last of them was; earliest first."""
    size = unit_size(intent)
    units = (range(worker * size, (worker + 1) * size) for worker in range(max(0, intent.replicas)))
    return sorted(max(seating[slot].since for slot in unit) for unit in units if all(slot in seating for slot in unit))


def needed_workers(intent: Intent) -> int:
    """Whole workers without which nobody trains."""
    return max(1, intent.min_workers)


def as_seats(seating: Seating) -> tuple[Seat, ...]:
    """The seats in the order of their ranks."""
    return tuple(Seat(member=seating[slot].id, slot=slot, address=seating[slot].address) for slot in sorted(seating))
