"""A job's storage as its agents use it: open an attempt, restore, commit, export, finish, tidy up. Effects.

Every method may be called again after it failed or after its caller died, by the same agent or another: what is in the
log already is found there. An agent that is told Fenced has no business in the job any more.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trainingjob_api.contract.messages import Commit, GenerationId, Keep, LogPosition, Restore
from trainingjob_api.storage.entries import (
    Authority,
    Checkpoint,
    Claim,
    Done,
    Drop,
    Entry,
    Export,
    Fence,
    Quarantine,
    Rollback,
)
from trainingjob_api.storage.layout import Label, export_keys, export_prefix
from trainingjob_api.storage.log import History, Kept, pin_of
from trainingjob_api.storage.manifest import Manifest
from trainingjob_api.storage.retention import overtaken, to_drop
from trainingjob_storage.appender import Appender
from trainingjob_storage.checkpoints import build_manifest, read_manifest, read_shards, write_manifest
from trainingjob_storage.errors import AttemptTaken, Corrupt, Fenced, NotWhole, OwnedByAnother, StorageError, Unreachable
from trainingjob_storage.fronts import Fronts
from trainingjob_storage.position import position_of
from trainingjob_storage.store import Store
from trainingjob_storage.sweep import stored_saves, sweep


@dataclass(frozen=True)
class Opening:
    """An attempt that was opened, and what it starts from."""

    step: int | None
    """None: there is no checkpoint; start fresh."""
    manifest: Manifest | None
    position: LogPosition


class Receiver(Protocol):
    """Takes a checkpoint's shards, each verified before it is handed over."""

    def begin(self, manifest: Manifest) -> None:
        """A checkpoint follows. Of an earlier one nothing may be used: one of its shards was damaged."""
        ...

    def shard(self, name: str, data: bytes) -> None:
        """One whole shard."""
        ...


class Journal:
    """One job's storage. Safe for use by several threads.

    Args:
        store: where it lies.
        owner_uid: the uid of the TrainingJob.
        owner_name: its namespace/name, for messages.
        build: the image or source it is pinned to, written into claims and manifests.
        adopt: `spec.checkpoint.adopt`: take over what another job has claimed.
        now: seconds since 1970.
        identity: tells this journal's fences from those of others; by default random.
        keep: how many checkpoints retention leaves: positions name no others. None: there is no retention.
    """

    def __init__(
        self,
        store: Store,
        owner_uid: str,
        owner_name: str,
        build: str,
        adopt: bool,
        now: Callable[[], float],
        identity: str | None = None,
        keep: int | None = None,
    ) -> None:
        self._store = store
        self._uid = owner_uid
        self._name = owner_name
        self._build = build
        self._adopt = adopt
        self._now = now
        self._identity = identity or secrets.token_hex(6)
        self._keep = keep
        self._log = Appender(store, owner_uid)
        self._fronts = Fronts(store)
        self._said: History | None = None
        """The log as the newest position had it."""
        self._opened = LogPosition(seq=-1)

    # --- reading ------------------------------------------------------------------------------

    def history(self) -> History:
        """The whole log as it stands now."""
        return self._log.refresh()

    def position(self) -> LogPosition:
        """The newest of the log, for the rendezvous and the operator. Reads new entries only."""
        return self._position(self._log.refresh())

    def read_checkpoint(self, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
        """The shards of a checkpoint, verified one by one.

        Raises:
            Corrupt: one is missing, torn or flipped.
        """
        return read_shards(self._store, manifest)

    # --- opening an attempt ---------------------------------------------------------------------

    def open_attempt(self, generation: GenerationId, restore: Restore) -> Opening:
        """Claim, fence, roll back if asked, and choose the checkpoint, whose shards are yet to be read.

        Raises:
            OwnedByAnother: another job has claimed the prefix.
            AttemptTaken: the log holds this attempt or a higher one.
        """
        return self.restore(generation, restore, None)

    def restore(self, generation: GenerationId, restore: Restore, receiver: Receiver | None) -> Opening:
        """Open the attempt, and hand the newest checkpoint over that is good; damaged ones on the way are quarantined.

        A rollback whose checkpoint is gone is left out: the position says so, and the attempt starts from the newest checkpoint.

        Raises:
            OwnedByAnother, AttemptTaken: see open_attempt.
        """
        authority = Authority(generation.attempt, generation.epoch)
        self._claim()
        self._fence(generation)
        self._roll_back(authority, restore)
        while (kept := self._log.refresh().newest()) is not None:
            try:
                manifest = read_manifest(self._store, kept.entry)
                if receiver is not None:
                    receiver.begin(manifest)
                    for name, data in read_shards(self._store, manifest):
                        receiver.shard(name, data)
            except Corrupt as error:
                self.quarantine(authority, kept.save, str(error))
                continue
            return self._opening(generation, restore, manifest)
        return self._opening(generation, restore, None)

    def _opening(self, generation: GenerationId, restore: Restore, manifest: Manifest | None) -> Opening:
        history = self._log.refresh()
        step = manifest.step if manifest else None
        carried_out = restore.request in history.requests
        opened = {
            "opened_attempt": generation.attempt,
            "restored_step": step,
            "request": restore.request if carried_out else None,
            "missing_request": restore.request if restore.kind == "Step" and not carried_out else None,
        }
        self._opened = self._opened.model_copy(update=opened)
        return Opening(step, manifest, self._position(history))

    def _claim(self) -> None:
        def entry(history: History, seq: int) -> Entry | None:
            owner = history.owner
            if owner is not None and owner.owner_uid == self._uid:
                return None
            if owner is not None and not self._adopt:
                raise OwnedByAnother(
                    "spec.checkpoint.storage.uri: give another one, or set checkpoint.adopt: true; "
                    f"it belongs to the job {owner.owner_name} (uid {owner.owner_uid})"
                )
            frame = self._frame(Authority(history.attempt, 0), seq)
            return Claim(nonce=self._uid, owner_uid=self._uid, owner_name=self._name, build=self._build, **frame)

        self._log.append(entry)

    def _fence(self, generation: GenerationId) -> None:
        authority = Authority(generation.attempt, generation.epoch)

        def entry(history: History, seq: int) -> Entry | None:
            self._refuse_taken(history, generation)
            return Fence(nonce=self._fence_nonce(generation), **self._frame(authority, seq))

        # Somebody may have opened a higher attempt since.
        self._refuse_taken(self._log.append(entry), generation)

    def _refuse_taken(self, history: History, generation: GenerationId) -> None:
        ours = ("fence", self._fence_nonce(generation)) in history.nonces
        if history.attempt > generation.attempt or (history.attempt == generation.attempt and not ours):
            raise AttemptTaken(f"attempt {generation.attempt} cannot be opened: the log is at attempt {history.attempt}", history.attempt)

    def _fence_nonce(self, generation: GenerationId) -> str:
        return f"{generation.label()}-{self._identity}"

    def _roll_back(self, authority: Authority, restore: Restore) -> None:
        """Hide what is past the target, once per request. Nobody can drop the target after the fence: it is there, or was lost before."""
        if restore.kind != "Step" or restore.step is None:
            return
        step, request = restore.step, restore.request or f"a{authority.attempt}e{authority.epoch}"

        def entry(history: History, seq: int) -> Entry | None:
            target = history.at_step(step)
            if target is None or request in history.requests:
                return None
            return Rollback(step=step, save=target.save, request=request, nonce=_short(request), **self._frame(authority, seq))

        self._log.append(entry)

    # --- checkpoints ------------------------------------------------------------------------------

    def commit(self, commit: Commit, epoch: int) -> LogPosition:
        """Make a save visible: its manifest, then its entry. The shards must be in storage.

        Args:
            commit: what the rendezvous sent.
            epoch: the epoch of the rendezvous that sent it; an adopted generation keeps the number of an older one.

        Raises:
            NotWhole: something is missing; the save stays invisible.
            Fenced: a newer attempt or epoch has begun.
        """
        try:
            position = self._commit(commit, epoch)
        except Unreachable:  # the next try goes on with the fronts that were read
            raise
        except StorageError:
            self._fronts.forget(Label.of(commit.save))
            raise
        self._fronts.forget(Label.of(commit.save))
        return position

    def _commit(self, commit: Commit, epoch: int) -> LogPosition:
        label = str(Label.of(commit.save))
        history = self._log.refresh()
        if label in history.checkpoints or label in history.dropped:
            return self._position(history)
        authority = Authority(commit.save.generation.attempt, max(epoch, commit.save.generation.epoch))
        self._stand_down(history, authority)
        manifest = build_manifest(self._fronts, commit, authority.epoch, self._build)
        try:
            sha256 = write_manifest(self._store, manifest)
        except NotWhole:
            # A later attempt sweeps what an earlier one had not committed.
            self._stand_down(self._log.refresh(), authority)
            raise
        return self._append(
            lambda seq: Checkpoint(
                nonce=label,
                save=label,
                step=commit.save.step,
                manifest_sha256=sha256,
                bytes=manifest.total_bytes(),
                finite=manifest.position.finite,
                clean=manifest.position.clean,
                **self._frame(authority, seq),
            )
        )

    def quarantine(self, authority: Authority, save: str, reason: str) -> LogPosition:
        """A checkpoint is damaged: it is not restored any more."""
        step = int(save.partition("-")[0])
        return self._append(lambda seq: Quarantine(nonce=save, step=step, save=save, reason=reason[:1000], **self._frame(authority, seq)))

    def pin(self, keep: Keep) -> LogPosition:
        """Keep a checkpoint until the job goes back to it. The position that is returned says whether it is there.

        A request that was carried out needs no pin.
        """

        def entry(history: History, seq: int) -> Entry | None:
            return None if keep.request in history.requests else self._pin(history, keep.step, seq)

        history = self._log.append(entry)
        kept = self._ours(history, keep.step)
        found = keep.request in history.requests or (kept is not None and kept.pinned)
        self._opened = self._opened.model_copy(update={"asked": keep, "found": found})
        return self._position(history)

    def _pin(self, history: History, step: int, seq: int) -> Entry | None:
        kept = self._ours(history, step)
        return None if kept is None else pin_of(history, kept, seq, self._now())

    def _ours(self, history: History, step: int) -> Kept | None:
        """Return the checkpoint of a step, if the prefix is this job's."""
        return history.at_step(step) if history.owner is not None and history.owner.owner_uid == self._uid else None

    def apply_retention(self, authority: Authority, keep: int) -> list[str]:
        """Drop what need not be kept, first in the log, then in storage; also what an earlier death left of that, and the shards of
        saves that will never be whole.

        A checkpoint that the newest position named stays until another position has left it out: a status names nothing that is gone.

        Args:
            authority: on whose behalf.
            keep: how many of the newest stay; fewer than two count as two.

        Returns:
            the labels of the saves whose objects were deleted.
        """
        unnamed = None if self._said is None else set(to_drop(self._said, keep))
        stored = stored_saves(self._store)

        def entry(history: History, seq: int) -> Entry | None:
            given_up = [save for save in to_drop(history, keep) if unnamed is None or save in unnamed]
            saves = tuple([*given_up, *overtaken(stored, history)][:1000])
            return Drop(nonce=_short(",".join(saves)), saves=saves, **self._frame(authority, seq)) if saves else None

        return sweep(self._store, stored, self._log.append(entry))

    # --- the end ------------------------------------------------------------------------------------

    def export(self, authority: Authority, label: Label, model: bytes | memoryview, metadata: str) -> LogPosition:
        """Keep the trained model under export/, then say so in the log.

        Args:
            authority: on whose behalf.
            label: its step and the generation's label.
            model: in safetensors format; must not change meanwhile.
            metadata: JSON.
        """
        folder = export_prefix(label)
        if ("export", folder) not in self._log.refresh().nonces:
            weights, description = export_keys(label)
            self._store.put(weights, model)
            self._store.put(description, metadata.encode())
        return self._append(lambda seq: Export(nonce=folder, step=label.step, folder=folder, **self._frame(authority, seq)))

    def done(self, authority: Authority, step: int, result: Mapping[str, float]) -> LogPosition:
        """The job is finished; revoked only by the fence of a later attempt. Non-finite metrics are left out."""
        finite = {name: float(value) for name, value in list(result.items())[:64] if math.isfinite(value)}
        nonce = f"a{authority.attempt}-{step}"
        return self._append(lambda seq: Done(nonce=nonce, step=step, result=finite, **self._frame(authority, seq)))

    # --- inside -------------------------------------------------------------------------------------

    def _stand_down(self, history: History, authority: Authority) -> None:
        outranked = history.outranks(authority, self._uid)
        if outranked is not None:
            raise Fenced(outranked.reason)

    def _append(self, make: Callable[[int], Entry]) -> LogPosition:
        return self._position(self._log.append(lambda _, seq: make(seq)))

    def _frame(self, authority: Authority, seq: int) -> dict[str, Any]:
        return {"seq": seq, "attempt": authority.attempt, "epoch": authority.epoch, "time": self._now()}

    def _position(self, history: History) -> LogPosition:
        self._said = history
        giving_up = () if self._keep is None else to_drop(history, self._keep)
        return position_of(history, self._uid, self._store.uri, self._opened, giving_up)


def _short(text: str) -> str:
    """A nonce of bounded length for a text of any."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
