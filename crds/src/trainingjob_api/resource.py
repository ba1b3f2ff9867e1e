"""The TrainingJob object: names, metadata, spec and status together. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from trainingjob_api.spec.base import LabelName, refuse
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.spec.patterns import LABEL_PATTERN
from trainingjob_api.status import Status

GROUP = "batch.trainingjob.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "batch.trainingjob.dev/v1alpha1"
KIND: Final = "TrainingJob"
PLURAL = "trainingjobs"
SINGULAR = "trainingjob"
SHORT = "tj"

COLUMNS = (
    ("Phase", "string", ".status.phase", "What the job does"),
    ("Workers", "string", ".status.display.workers", "Ready and wanted workers"),
    ("Step", "string", ".status.display.step", "Finished and planned steps"),
    ("Progress", "string", ".status.display.progress", "Share of the planned steps"),
    ("Loss", "number", ".status.loss", "The training loss"),
    ("Checkpoint", "integer", ".status.checkpoint", "Step of the newest checkpoint in storage"),
    ("Restarts", "integer", ".status.restarts", "Workers and training processes started again"),
    ("Goodput", "string", ".status.goodput", "Share of the time since creation spent on steps that were kept"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
)
"""The columns of `kubectl get`: name, type, path, meaning."""
WIDE_COLUMNS = (("Saved", "date", ".status.lastCheckpointTime", "Time since the newest checkpoint was committed"),)
"""Further columns of `kubectl get --output wide`."""


class Metadata(BaseModel):
    """The part of a TrainingJob's metadata that the product reads; the rest is ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: LabelName
    """A DNS label of at most 63 characters: the names of pods and of the Service are made from it."""
    namespace: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_PATTERN)] = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _starts_with_a_letter(cls, name: str) -> str:
        if not name[0].isalpha():
            raise refuse("", f"{name} starts with a digit, which a Service's name may not; put a letter before it")
        return name


class TrainingJob(BaseModel):
    """A TrainingJob as the API server keeps it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    api_version: Literal["batch.trainingjob.dev/v1alpha1"] = API_VERSION
    kind: Literal["TrainingJob"] = KIND
    metadata: Metadata
    spec: JobSpec
    status: Status = Field(default_factory=Status)

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> Self:
        """Read an object from the API server.

        Raises:
            pydantic.ValidationError: when the spec cannot work; `trainingjob_api.spec.errors.explain` puts it into words.
        """
        return cls.model_validate(body)
