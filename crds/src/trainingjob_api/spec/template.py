"""What worker pods have beyond what the operator gives them, field by field. Pure.

`pod` and `container` split a template into the parts of a pod's spec, so that no field is accepted and then forgotten.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from trainingjob_api.spec.base import Flag, KeyName, Labels, LabelValue, ObjectName, SpecModel, Whole, refuse
from trainingjob_api.spec.container import Mount, Resources, Variable, VariablesFrom, Volume
from trainingjob_api.spec.scheduling import Affinity, AnnotationValue, ResourceClaim, SpreadConstraint, Toleration

OWN_PREFIX = "batch.trainingjob.dev/"
"""Labels and annotations under this prefix are the operator's."""

Identity = Annotated[Whole, Field(ge=1, le=2**31 - 1)]
_CONTAINER = ("resources", "env", "envFrom", "volumeMounts", "imagePullPolicy")


def _is_free(values: dict[str, str]) -> dict[str, str]:
    for key in values:
        if key.startswith(OWN_PREFIX):
            raise refuse(key, f"{OWN_PREFIX}* is the operator's own; choose another prefix")
    return values


class TemplateMetadata(SpecModel):
    """Labels and annotations of the worker pods."""

    labels: Annotated[Labels, AfterValidator(_is_free)] | None = None
    """Labels, beside the operator's own."""
    annotations: Annotated[dict[KeyName, AnnotationValue], Field(max_length=64), AfterValidator(_is_free)] | None = None
    """Annotations, beside the operator's own."""


class SecurityContext(SpecModel):
    """As whom the worker runs. Workers never run as root, gain privileges or keep capabilities, so there are no fields for that."""

    run_as_user: Identity | None = None
    """The user id."""
    run_as_group: Identity | None = None
    """The group id."""
    fs_group: Identity | None = None
    """The group that owns the files of volumes."""
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    """When the files' group is set."""
    supplemental_groups: Annotated[list[Identity], Field(max_length=32)] | None = None
    """Further group ids."""
    read_only_root_filesystem: Flag | None = None
    """true: the container can write to its volumes only."""


class ImagePullSecret(SpecModel):
    """A Secret of the job's namespace with a registry's credentials."""

    name: ObjectName
    """The Secret's name."""


class PodTemplate(SpecModel):
    """The worker pods, in Kubernetes' own words: fields of a pod's spec and of its one container side by side."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations."""
    resources: Resources | None = None
    """CPU, memory and other resources of each worker."""
    env: Annotated[list[Variable], Field(max_length=128)] | None = None
    """Environment variables."""
    env_from: Annotated[list[VariablesFrom], Field(max_length=16)] | None = None
    """Environment variables from the keys of Secrets and ConfigMaps. Where two give the same name, the later one counts."""
    volumes: Annotated[list[Volume], Field(max_length=32)] | None = None
    """Volumes, for data and for file:// storage."""
    volume_mounts: Annotated[list[Mount], Field(max_length=64)] | None = None
    """Where the volumes appear."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=16)] | None = None
    """Credentials for the image's registry."""
    node_selector: Annotated[dict[KeyName, LabelValue], Field(max_length=32)] | None = None
    """Labels that a worker's node must have."""
    affinity: Affinity | None = None
    """Where workers must or should run."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    """Taints that do not keep workers away."""
    topology_spread_constraints: Annotated[list[SpreadConstraint], Field(max_length=8)] | None = None
    """How evenly workers are spread."""
    resource_claims: Annotated[list[ResourceClaim], Field(max_length=16)] | None = None
    """Devices by dynamic resource allocation."""
    scheduler_name: ObjectName | None = None
    """The scheduler that places the workers."""
    priority_class_name: ObjectName | None = None
    """The workers' priority."""
    runtime_class_name: ObjectName | None = None
    """The container runtime."""
    service_account_name: ObjectName | None = None
    """The account whose cloud identity the workers have. They get no API token of it."""
    security_context: SecurityContext | None = None
    """As whom the worker runs."""
    termination_grace_period_seconds: Annotated[Whole, Field(ge=1, le=86400)] | None = None
    """How long a worker that is told to leave may take to save and go."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        volumes = [volume.name for volume in self.volumes or ()]
        for name in volumes:
            if volumes.count(name) > 1:
                raise refuse("volumes", f"{name} is there twice; rename one of them")
        for number, mount in enumerate(self.volume_mounts or ()):
            if mount.name not in volumes:
                raise refuse(f"volumeMounts[{number}].name", f"there is no volume {mount.name!r}; add it to volumes, or correct the name")
        return self

    def container(self) -> dict[str, Any]:
        """The fields that belong to the pod's container, as Kubernetes spells them."""
        fields = self._fields()
        result = {name: fields[name] for name in _CONTAINER if name in fields}
        if self.security_context is not None and self.security_context.read_only_root_filesystem is not None:
            result["securityContext"] = {"readOnlyRootFilesystem": self.security_context.read_only_root_filesystem}
        return result

    def pod(self) -> dict[str, Any]:
        """The fields that belong to the pod's spec, as Kubernetes spells them."""
        result = {name: value for name, value in self._fields().items() if name not in (*_CONTAINER, "metadata")}
        if "securityContext" in result:
            result["securityContext"].pop("readOnlyRootFilesystem", None)
        return result

    def _fields(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
