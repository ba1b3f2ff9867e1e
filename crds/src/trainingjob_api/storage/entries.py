"""The entries of a job's commit log: one small JSON object each. Pure.

Says what an entry is, not what a sequence of them means (see `log`). Unknown fields are ignored and an unknown kind
is kept as `Unknown`: an older program must be able to read a newer one's log.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_ENTRY_BYTES = 256 << 10
"""A longer entry is refused unread."""

Count = Annotated[int, Field(ge=0, le=2**53)]
LabelText = Annotated[str, Field(pattern=r"^\d{8,15}-[a-z0-9]{1,64}$")]
Text = Annotated[str, Field(max_length=4096)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""256 bits, hexadecimal."""


class Authority(NamedTuple):
    """On whose behalf an entry is written: the line of history, and the rendezvous' life. Both only grow in a log."""

    attempt: int
    epoch: int


class Entry(BaseModel):
    """What all entries have. Frozen."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

    kind: str
    seq: Count
    """The entry's number, the same as in its name."""
    nonce: Annotated[str, Field(min_length=1, max_length=200)]
    """Tells a writer that an entry is its own after a put whose answer was lost."""
    attempt: Count = 0
    epoch: Count = 0
    time: float
    """Seconds since 1970, by the writer's clock; for people, nothing is decided by it."""

    def authority(self) -> Authority:
        """On whose behalf it was written."""
        return Authority(self.attempt, self.epoch)

    def to_bytes(self) -> bytes:
        """The object that is stored."""
        return self.model_dump_json().encode()


class Claim(Entry):
    """The prefix belongs to a job from here on."""

    kind: Literal["claim"] = "claim"
    owner_uid: Annotated[str, Field(min_length=1, max_length=200)]
    owner_name: Text
    """namespace/name, for messages."""
    build: Text = ""


class Fence(Entry):
    """An attempt begins: nothing of a lower attempt or epoch is appended any more."""

    kind: Literal["fence"] = "fence"


class Checkpoint(Entry):
    """A save is whole, and from here on can be restored."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: Count
    save: LabelText
    manifest_sha256: Checksum
    bytes: Count = 0
    """Of all shards."""
    finite: bool = True
    """All weights are finite."""
    clean: bool = True
    """The divergence window before the step saw nothing suspicious."""


class Rollback(Entry):
    """History goes back to `step`: what was written before this entry and lies past that step is hidden."""

    kind: Literal["rollback"] = "rollback"
    step: Count
    save: LabelText | None = None
    """The checkpoint meant."""
    request: Annotated[str, Field(max_length=256)]
    """The request's id; it is carried out once."""


class Quarantine(Entry):
    """A save is damaged and is not restored any more."""

    kind: Literal["quarantine"] = "quarantine"
    step: Count
    save: LabelText
    reason: Text = ""


class Pin(Entry):
    """A save is not dropped by retention, because a rollback is to go back to it.

    It ends with the next rollback, with the fourth pin of other saves after it, and with the first fence after `done`. No entry of its
    own ends it, so none can be missing.
    """

    kind: Literal["pin"] = "pin"
    step: Count
    save: LabelText


class Drop(Entry):
    """These saves are given up; their objects are deleted after this entry."""

    kind: Literal["drop"] = "drop"
    saves: Annotated[tuple[LabelText, ...], Field(max_length=1000)]


class Export(Entry):
    """The trained model lies under `folder`."""

    kind: Literal["export"] = "export"
    step: Count
    folder: Annotated[str, Field(max_length=300)]


class Done(Entry):
    """The job has done all its steps and its model is exported."""

    kind: Literal["done"] = "done"
    step: Count = 0
    result: dict[str, float] = Field(default_factory=dict, max_length=64)


class Unknown(Entry):
    """A kind that this version does not know. Only its attempt and epoch count."""


AnyEntry = Claim | Fence | Checkpoint | Rollback | Quarantine | Pin | Drop | Export | Done | Unknown
KINDS: dict[str, type[Entry]] = {
    "claim": Claim,
    "fence": Fence,
    "checkpoint": Checkpoint,
    "rollback": Rollback,
    "quarantine": Quarantine,
    "pin": Pin,
    "drop": Drop,
    "export": Export,
    "done": Done,
}
_RAW: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class BadEntry(ValueError):
    """An object of the log is not an entry."""


def parse_entry(data: bytes, seq: int) -> Entry:
    """Read the object that lies where entry `seq` belongs.

    Raises:
        BadEntry: it is too long, no JSON, not an entry, or one of another number.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise BadEntry(f"entry {seq} has {len(data)} bytes; at most {MAX_ENTRY_BYTES} are allowed")
    try:
        kind = _RAW.validate_json(data).get("kind")
        model = KINDS.get(kind, Unknown) if isinstance(kind, str) else Unknown
        entry = model.model_validate_json(data)
    except ValidationError as error:
        raise BadEntry(f"entry {seq} cannot be read: {error.errors(include_url=False, include_input=False)[0]['msg']}") from None
    if entry.seq != seq:
        raise BadEntry(f"the object of entry {seq} says it is entry {entry.seq}")
    return entry
