"""Whose a storage is, before anything is started in it. Effects: reads the log."""

from __future__ import annotations

from dataclasses import dataclass

from trainingjob_api.spec.checkpoint import Checkpoint
from trainingjob_api.storage.log import History
from trainingjob_cli.archive import read_history
from trainingjob_operator.engine.values import Manifest
from trainingjob_storage.errors import StorageError


@dataclass(frozen=True)
class Beginning:
    """What is known of a local job before it is run."""

    uid: str
    """"" if it is new."""
    opened: bool
    """Its status tells of an attempt that has begun."""
    complete: bool
    failed: bool
    past: frozenset[str]
    """The uids of jobs of this name that were deleted here: what they left may go."""
    history: History
    """Of its storage. Not read where an attempt has begun: then it is the job's own, and may be long."""

    def has_trained(self) -> bool:
        """Return whether something is stored or may be: from then on, what it depends on cannot change."""
        owner = self.history.owner
        return self.opened or (owner is not None and owner.owner_uid == self.uid)


def beginning(stored: Manifest | None, place: Checkpoint, secrets: tuple[Manifest, ...], past: frozenset[str]) -> Beginning:
    """Look how far the job `stored` came (None: it is new) and what lies in the storage of `place`.

    A storage that cannot be read counts as empty: the job itself says what is wrong with it, and tries again.
    """
    status = (stored or {}).get("status", {})
    uid = "" if stored is None else stored["metadata"]["uid"]
    opened = status.get("openedAttempt", 0) > 0 or status.get("checkpoint") is not None
    ends = {condition["type"] for condition in status.get("conditions", ()) if condition["status"] == "True"}
    history = History()
    if not opened:
        try:
            history = read_history(place.storage, secrets)
        except StorageError:
            history = History()
    return Beginning(uid, opened, "Complete" in ends, "Failed" in ends, past, history)


def refusal(found: Beginning, place: Checkpoint) -> str:
    """Return why the job must not begin in this storage, and what to do; "" if it may. Pure."""
    owner = found.history.owner
    if owner is None or found.opened or owner.owner_uid == found.uid:
        return ""
    if place.adopt and found.uid not in found.history.owners:
        return ""
    last = (
        "Or delete what it holds and begin anew:   --fresh"
        if owner.owner_uid in found.past
        else "Or, if that job is gone, delete what it left there yourself"
    )
    return (
        f"spec.checkpoint.storage.uri: {place.storage.uri} holds the checkpoints of the job {owner.owner_name} (uid {owner.owner_uid}).\n"
        "Give another place:                       --storage URI\n"
        "Or go on from its checkpoints:            --set checkpoint.adopt=true\n"
        f"{last}"
    )
