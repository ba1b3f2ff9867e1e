"""What the engine is told by whoever starts it. Pure: entry points read files and the environment, once."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretBytes
from pydantic.alias_generators import to_camel


class Misconfigured(ValueError):
    """What the operator was told cannot work; the message names what, and the fix."""


class EngineSettings(BaseModel):
    """What holds for all kinds. A controller's own settings inherit from it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    operator_name: str = "batch.trainingjob.dev/operator"
    """Resources whose `managedBy` says another name are left alone."""
    namespaces: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")], ...] = ()
    """Where resources are looked after; nothing: in all namespaces."""
    watch_nodes: bool = True
    """Nodes are watched: their loss is evidence. Without it workers of a lost node are replaced for their silence."""
    operator_key: SecretBytes = SecretBytes(b"a key for reading plans, never for running them")
    """The root of every job's tokens and keys. Real operators make their own; the default only lets `plan` print."""
    older_keys: tuple[SecretBytes, ...] = ()
    """Former roots, newest first: jobs that started under one keep it until they are suspended."""
    resync_seconds: float = 300.0
    """How often the resources known are compared with those that there are, in case a deletion was missed."""
    lease_seconds: float = Field(default=15.0, gt=2, le=300)
    """An operator that has not been heard for so long is taken for dead, and a standby acts."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All roots of tokens and keys, newest first."""
        return tuple(key.get_secret_value() for key in (self.operator_key, *self.older_keys))
