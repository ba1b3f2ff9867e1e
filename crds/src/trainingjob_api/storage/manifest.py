"""What a save holds: its tensors, where their bytes lie, and where training stood. Pure.

The training process fills `TensorSlice` and `Position`; the agent adds lengths and checksums. A tensor is described by
its name and global shape, never by a rank's number, so that a checkpoint restores at any world size and under another
strategy. All of it may come from hostile storage: sizes are bounded, parsing is strict, no slice may point outside its
shard.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from trainingjob_api.storage.entries import Checksum
from trainingjob_api.storage.layout import Label, parse_shard_name

MAX_MANIFEST_BYTES = 64 << 20
"""A longer manifest is refused unread."""
MAX_SLICES = 200_000
"""Of one manifest, or of one shard's front."""
MAX_SHARDS = 4096
MAX_NAME = 512
"""Characters of a tensor's name."""
MAX_DIMENSIONS = 16

ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "C64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of one element, by the names that safetensors gives the types."""

Size = Annotated[int, Field(ge=0, le=2**53)]
Shape = Annotated[tuple[Size, ...], Field(max_length=MAX_DIMENSIONS)]
ShardName = Annotated[str, Field(pattern=r"^\d{5,9}\.safetensors$")]


class BadManifest(ValueError):
    """Not a manifest, or one that contradicts itself."""


class Part(BaseModel):
    """Base of what a manifest consists of: frozen, strictly parsed; a newer writer may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class TensorSlice(Part):
    """One piece of a tensor, as it lies in a shard.

    A piece is either a flat range of elements (`start` to `stop` of the tensor in row-major order) or a box (`offsets`
    and `shape`). A whole tensor is the flat range from 0 to its number of elements. To share replicated tensors out over
    the ranks, give each rank one contiguous range of all tensors laid end to end: a tensor is then cut at most where two
    ranks' shares meet.
    """

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """The tensor's own name, the same in every world size: model/fc1.weight, optimizer/fc1.weight/exp_avg."""
    shard: ShardName
    global_shape: Shape
    dtype: Annotated[str, Field(max_length=16)]
    """The type's name in safetensors: F32, BF16, I64, …"""
    kind: Literal["replicated", "sharded", "local"] = "replicated"
    """Replicated: every rank has it all. Sharded: every rank has a piece. Local: each rank has its own, which means nothing to others."""
    start: Size | None = None
    stop: Size | None = None
    offsets: Shape | None = None
    shape: Shape | None = None
    begin: Size
    """The piece's first byte in the shard's data section."""
    end: Size
    """The byte after its last."""

    def elements(self) -> int:
        """How many elements the piece has."""
        if self.start is not None and self.stop is not None:
            return self.stop - self.start
        return math.prod(self.shape or ())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"{self.name}: unknown dtype {self.dtype}")
        flat = self.start is not None and self.stop is not None and self.offsets is None and self.shape is None
        box = self.offsets is not None and self.shape is not None and self.start is None and self.stop is None
        if not flat and not box:
            raise ValueError(f"{self.name}: needs either start and stop, or offsets and shape")
        if not (self._flat_fits() if flat else self._box_fits()):
            raise ValueError(f"{self.name}: the piece lies outside the tensor")
        if self.end - self.begin != self.elements() * ITEM_BYTES[self.dtype]:
            raise ValueError(f"{self.name}: {self.end - self.begin} bytes for {self.elements()} elements of {self.dtype}")
        return self

    def _flat_fits(self) -> bool:
        assert self.start is not None
        assert self.stop is not None
        return self.start <= self.stop <= math.prod(self.global_shape)

    def _box_fits(self) -> bool:
        assert self.offsets is not None
        assert self.shape is not None
        if not len(self.offsets) == len(self.shape) == len(self.global_shape):
            return False
        return all(offset + length <= whole for offset, length, whole in zip(self.offsets, self.shape, self.global_shape, strict=True))


class ShardFile(Part):
    """One object of the save, with one of the two checksums."""

    name: ShardName
    bytes: Size
    sha256: Checksum | None = None
    """Of saves by contract 1."""
    blake3: Checksum | None = None
    front_bytes: Size | None = None
    """The shard's first bytes, which list its slices (see front); None: they are among the manifest's tensors."""
    front_blake3: Checksum | None = None

    @model_validator(mode="after")
    def _has_one(self) -> ShardFile:
        if (self.sha256 is None) == (self.blake3 is None):
            raise ValueError(f"{self.name}: one of sha256 and blake3 is needed")
        if (self.front_bytes is None) != (self.front_blake3 is None):
            raise ValueError(f"{self.name}: front_bytes and front_blake3 belong together")
        return self


def _finite_only(value: object) -> object:
    """Non-finite metrics are left out: JSON cannot say them."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None and not (isinstance(item, float) and not math.isfinite(item))}


Metrics = Annotated[dict[str, float], BeforeValidator(_finite_only), Field(max_length=64)]


class EarlyStopping(Part):
    """How long the watched metric has not improved."""

    best: float | None = None
    best_step: Size | None = None
    evaluations_without_gain: Size = 0
    stopped: bool = False


class Position(Part):
    """Where training stood: all that is not a tensor. The same from every rank.

    The learning rate is not in here, since it is a function of the step.
    """

    step: Size = 0
    """Finished optimiser steps."""
    epoch_of_data: Size = 0
    step_in_epoch: Size = 0
    samples: Size = 0
    """Samples that contributed since the start."""
    digest: Annotated[str, Field(max_length=128)] = ""
    """The running hash over all reduced steps of this line of history."""
    lanes: Size = 0
    """How many lanes the batch was cut into; 0: as many as ranks."""
    rng: Annotated[str, Field(max_length=256)] = ""
    """How randomness is made, for instance "keyed by (seed 7, step, lane)"; generators that hold state are tensors."""
    strategy: Annotated[str, Field(max_length=64)] = ""
    """The strategy that wrote it, for people; every strategy can read it."""
    finite: bool = True
    """All weights were finite."""
    clean: bool = True
    """The divergence window before this step saw neither a spike nor a non-finite loss."""
    metrics: Metrics = Field(default_factory=dict)
    early_stopping: EarlyStopping = EarlyStopping()
    extra: Annotated[dict[str, JsonValue], Field(max_length=64)] = Field(default_factory=dict)
    """What a task or a strategy keeps beside its tensors: scaler, scheduler, and the like."""


class Manifest(Part):
    """A whole save: written after all its shards, and visible only through the log."""

    version: Literal[1] = 1
    save: Annotated[str, Field(pattern=r"^\d{8,15}-[a-z0-9]{1,64}$")]
    """The save's label, the name of its folder."""
    step: Size
    attempt: Size
    epoch: Size
    world: Annotated[int, Field(ge=1, le=MAX_SHARDS)]
    """How many ranks wrote it."""
    shards: Annotated[tuple[ShardFile, ...], Field(min_length=1, max_length=MAX_SHARDS)]
    tensors: Annotated[tuple[TensorSlice, ...], Field(max_length=MAX_SLICES)] = ()
    """The slices of shards that do not list them in their own front."""
    position: Position = Position()
    build: Annotated[str, Field(max_length=4096)] = ""

    @property
    def strategy(self) -> str:
        """The strategy that wrote it."""
        return self.position.strategy

    @property
    def label(self) -> Label:
        """The save's label."""
        label = Label.parse(self.save)
        assert label is not None
        return label

    def total_bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def to_bytes(self) -> bytes:
        """The object that is stored: the same bytes for the same manifest."""
        return self.model_dump_json(exclude_none=True).encode()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        label = Label.parse(self.save)
        if label is None or label.step != self.step:
            raise ValueError(f"save {self.save} does not fit step {self.step}")
        sizes = {shard.name: shard.bytes for shard in self.shards}
        if len(sizes) != len(self.shards) or any(parse_shard_name(name) is None for name in sizes):
            raise ValueError("shards: names must be canonical, and differ")
        described: dict[str, tuple[Shape, str, str]] = {}
        for piece in self.tensors:
            if piece.end > sizes.get(piece.shard, -1):
                raise ValueError(f"{piece.name}: points outside shard {piece.shard}")
            # Local tensors differ from rank to rank, even in shape.
            known = described.setdefault(piece.name, (piece.global_shape, piece.dtype, piece.kind))
            if piece.kind != "local" and known != (piece.global_shape, piece.dtype, piece.kind):
                raise ValueError(f"{piece.name}: its pieces disagree about shape, dtype or kind")
        return self


_SLICES: TypeAdapter[tuple[TensorSlice, ...]] = TypeAdapter(Annotated[tuple[TensorSlice, ...], Field(max_length=MAX_SLICES)])


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}".removeprefix(": ")[:400]


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BadManifest: too long, no JSON, or it contradicts itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BadManifest(f"the manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BadManifest(_first(error)) from None


def parse_slices(text: str) -> tuple[TensorSlice, ...]:
    """Read a shard's `entries`.

    Raises:
        BadManifest: no list of slices.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise BadManifest(f"the entries have {len(text)} characters; at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        return _SLICES.validate_json(text)
    except ValidationError as error:
        raise BadManifest(_first(error)) from None


def slices_json(slices: tuple[TensorSlice, ...] | list[TensorSlice]) -> str:
    """What goes into a shard's `entries`; `parse_slices` reads it."""
    return _SLICES.dump_json(tuple(slices), exclude_none=True).decode()


def parse_position(text: str) -> Position:
    """Read a snapshot's `position`.

    Raises:
        BadManifest: no position.
    """
    try:
        return Position.model_validate_json(text[: MAX_MANIFEST_BYTES + 1])
    except ValidationError as error:
        raise BadManifest(_first(error)) from None
