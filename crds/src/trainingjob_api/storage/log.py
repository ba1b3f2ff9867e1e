"""What a job's commit log means: the fold over its entries, and who may append. Pure.

Reads no storage and no clock. `trainingjob_storage.journal` reads and writes the entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from trainingjob_api.storage.entries import (
    Authority,
    Checkpoint,
    Claim,
    Done,
    Drop,
    Entry,
    Export,
    Fence,
    Pin,
    Quarantine,
    Rollback,
)

MOST_PINS = 4
"""So many pins hold at once, the newest. One that comes late, of a request that was replaced, does not end the present one's."""


@dataclass(frozen=True)
class Append:
    """The entry may be created."""


@dataclass(frozen=True)
class AlreadyOurs:
    """It is in the log already: an earlier put of it succeeded, or another agent of the job did it."""


@dataclass(frozen=True)
class StandDown:
    """A newer attempt or epoch, or another job, owns the log: the writer has no business here any more."""

    reason: str


Verdict = Append | AlreadyOurs | StandDown


@dataclass(frozen=True)
class Kept:
    """A committed checkpoint whose objects are still kept."""

    entry: Checkpoint
    hidden: bool = False
    """By a rollback to an earlier step."""
    quarantined: bool = False
    pinned: bool = False
    """A rollback is to go back to it."""

    @property
    def visible(self) -> bool:
        """May be restored."""
        return not self.hidden and not self.quarantined

    @property
    def step(self) -> int:
        """The step it was taken after."""
        return self.entry.step

    @property
    def save(self) -> str:
        """The label of its save."""
        return self.entry.save

    def key(self) -> tuple[int, int, int]:
        """What is newer has the greater key. A commit that arrives late does not become the newest by that."""
        return (self.entry.attempt, self.entry.step, self.entry.seq)


@dataclass(frozen=True)
class History:
    """The state after all entries up to `seq`. Made only by `extend`; its dictionaries are never changed afterwards."""

    seq: int = -1
    owner: Claim | None = None
    owners: frozenset[str] = frozenset()
    """The uids of all jobs that ever owned the prefix."""
    attempt: int = 0
    epoch: int = 0
    """The highest since the owner's claim."""
    checkpoints: dict[str, Kept] = field(default_factory=dict)
    """By save label, in the order of their commits; dropped ones are gone."""
    dropped: frozenset[str] = frozenset()
    """Save labels whose objects may be deleted."""
    deleted: frozenset[str] = frozenset()
    """Those of them that were checkpoints."""
    nonces: frozenset[tuple[str, str]] = frozenset()
    """(kind, nonce) of every entry."""
    requests: frozenset[str] = frozenset()
    """Ids of the rollback requests carried out."""
    rollback: Rollback | None = None
    """The newest one."""
    pins: tuple[str, ...] = ()
    """Save labels, in the order of their pins: the newest MOST_PINS."""
    quarantined: tuple[int, ...] = ()
    """Steps, in the order of their quarantine."""
    exported: Export | None = None
    done: Done | None = None
    """None again after a later fence."""

    def extend(self, entries: Iterable[Entry]) -> History:
        """The history after these further entries, which follow one another from `seq` + 1 on."""
        return _Fold(self).take(entries)

    def visible(self) -> list[Kept]:
        """The checkpoints that may be restored, oldest first."""
        return sorted((kept for kept in self.checkpoints.values() if kept.visible), key=Kept.key)

    def newest(self) -> Kept | None:
        """The checkpoint that a restore takes, or None."""
        return max((kept for kept in self.checkpoints.values() if kept.visible), key=Kept.key, default=None)

    def newest_healthy(self) -> Kept | None:
        """The newest visible checkpoint of finite weights after which a clean one was made, or None."""
        evidence = self.evidence_of_health()
        return evidence[0] if evidence else None

    def evidence_of_health(self) -> tuple[Kept, ...]:
        """The newest healthy checkpoint and the clean one that shows it to be so; empty if there is none."""
        clean: Kept | None = None
        for kept in reversed(self.visible()):
            if clean is not None and kept.entry.finite:
                return kept, clean
            if clean is None and kept.entry.clean and kept.entry.finite:
                clean = kept
        return ()

    def at_step(self, step: int) -> Kept | None:
        """The newest visible checkpoint of that step, or None."""
        return max((kept for kept in self.checkpoints.values() if kept.visible and kept.step == step), key=Kept.key, default=None)

    def pinned_last(self, save: str) -> bool:
        """Whether the newest pin is this save's: another one would change nothing."""
        return self.pins[-1:] == (save,)

    def may_append(self, entry: Entry, owner_uid: str) -> Verdict:
        """Whether the job `owner_uid` may append `entry` right after this history."""
        if isinstance(entry, Claim):
            return self._may_claim(entry)
        if self.owner is not None and self.owner.owner_uid == owner_uid and (entry.kind, entry.nonce) in self.nonces:
            return AlreadyOurs()
        outranked = self.outranks(entry.authority(), owner_uid)
        if outranked is not None:
            return outranked
        if isinstance(entry, Fence) and entry.attempt == self.attempt:
            return StandDown(f"attempt {entry.attempt} was opened by somebody else")
        return AlreadyOurs() if self._without_effect(entry) else Append()

    def outranks(self, authority: Authority, owner_uid: str) -> StandDown | None:
        """Why the job `owner_uid` may append nothing on behalf of `authority`; None: it may."""
        if self.owner is None:
            return StandDown("nobody has claimed this prefix yet")
        if self.owner.owner_uid != owner_uid:
            return StandDown(f"the prefix belongs to the job {self.owner.owner_name} ({self.owner.owner_uid}) now")
        if authority.attempt < self.attempt or authority.epoch < self.epoch:
            return StandDown(
                f"the log is at attempt {self.attempt} of epoch {self.epoch}; "
                f"attempt {authority.attempt} of epoch {authority.epoch} may not write any more"
            )
        return None

    def _may_claim(self, entry: Claim) -> Verdict:
        if self.owner is not None and self.owner.owner_uid == entry.owner_uid:
            return AlreadyOurs()
        if entry.owner_uid in self.owners:
            assert self.owner is not None
            return StandDown(f"the job {self.owner.owner_name} ({self.owner.owner_uid}) has taken this prefix over")
        return Append()

    def _without_effect(self, entry: Entry) -> bool:
        """Would change nothing: repeated by somebody who did not know."""
        match entry:
            case Checkpoint():
                return entry.save in self.checkpoints or entry.save in self.dropped
            case Rollback():
                return entry.request in self.requests
            case Quarantine():
                return entry.save not in self.checkpoints or self.checkpoints[entry.save].quarantined
            case Pin():
                return entry.save not in self.checkpoints or self.pinned_last(entry.save)
            case Drop():
                return self.dropped.issuperset(entry.saves)
            case Done():
                return self.done is not None
            case _:
                return False


def pin_of(history: History, kept: Kept, seq: int, now: float) -> Pin | None:
    """Return the entry that pins a checkpoint for a rollback; None if the newest pin is that one already.

    Whoever asks, asks for the job: the entry has the log's own attempt and epoch.

    Args:
        history: the whole log.
        kept: one of its checkpoints.
        seq: the entry's.
        now: seconds since 1970.
    """
    if history.pinned_last(kept.save):
        return None
    nonce = f"{kept.save}-{seq}"
    return Pin(seq=seq, nonce=nonce, time=now, step=kept.step, save=kept.save, attempt=history.attempt, epoch=history.epoch)


class _Fold:
    """Takes entries into copies of a history's collections: one copy for a whole batch."""

    def __init__(self, start: History) -> None:
        self.history = start
        self.checkpoints = dict(start.checkpoints)
        self.dropped = set(start.dropped)
        self.deleted = set(start.deleted)
        self.nonces = set(start.nonces)

    def take(self, entries: Iterable[Entry]) -> History:
        for entry in entries:
            assert entry.seq == self.history.seq + 1, "a log is read without gaps"
            self.nonces.add((entry.kind, entry.nonce))
            self._count(entry)
            self._apply(entry)
        return replace(
            self.history,
            checkpoints=self.checkpoints,
            dropped=frozenset(self.dropped),
            deleted=frozenset(self.deleted),
            nonces=frozenset(self.nonces),
        )

    def _count(self, entry: Entry) -> None:
        """A new owner's rendezvous counts its epochs from one again; attempts go on."""
        taken = isinstance(entry, Claim) and self.history.owner is not None and self.history.owner.owner_uid != entry.owner_uid
        above = Authority(max(self.history.attempt, entry.attempt), entry.epoch if taken else max(self.history.epoch, entry.epoch))
        self.history = replace(self.history, seq=entry.seq, attempt=above.attempt, epoch=above.epoch)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Claim():
                self._take_over(entry)
            case Fence():
                if self.history.done is not None:
                    self._unpin()
                self.history = replace(self.history, done=None)
            case Export():
                self.history = replace(self.history, exported=entry)
            case Done():
                self.history = replace(self.history, done=entry)
            case _:
                self._apply_to_checkpoints(entry)

    def _take_over(self, entry: Claim) -> None:
        owner = self.history.owner
        if owner is not None and owner.owner_uid != entry.owner_uid:
            # What the job before had done is not what this one has done.
            self.history = replace(self.history, done=None, exported=None)
        self.history = replace(self.history, owner=entry, owners=self.history.owners | {entry.owner_uid})

    def _apply_to_checkpoints(self, entry: Entry) -> None:
        match entry:
            case Checkpoint():
                if entry.save not in self.checkpoints and entry.save not in self.dropped:
                    self.checkpoints[entry.save] = Kept(entry)
            case Rollback():
                self._roll_back(entry)
            case Quarantine():
                if self._quarantine(entry.save):
                    self.history = replace(self.history, quarantined=(*self.history.quarantined, entry.step))
            case Pin():
                self._pin(entry.save)
            case Drop():
                for save in entry.saves:
                    if self.checkpoints.pop(save, None) is not None:
                        self.deleted.add(save)
                    self.dropped.add(save)
            case _:
                pass

    def _quarantine(self, save: str) -> bool:
        kept = self.checkpoints.get(save)
        if kept is None:
            return False
        self.checkpoints[save] = replace(kept, quarantined=True)
        return True

    def _pin(self, save: str) -> None:
        if save in self.checkpoints:
            self._hold((*(other for other in self.history.pins if other != save), save)[-MOST_PINS:])

    def _unpin(self) -> None:
        self._hold(())

    def _hold(self, pins: tuple[str, ...]) -> None:
        self.history = replace(self.history, pins=pins)
        for save, kept in self.checkpoints.items():
            if kept.pinned != (save in pins):
                self.checkpoints[save] = replace(kept, pinned=save in pins)

    def _roll_back(self, entry: Rollback) -> None:
        self._unpin()
        for save, kept in self.checkpoints.items():
            if kept.step > entry.step:
                self.checkpoints[save] = replace(kept, hidden=True)
        self.history = replace(self.history, requests=self.history.requests | {entry.request}, rollback=entry)
