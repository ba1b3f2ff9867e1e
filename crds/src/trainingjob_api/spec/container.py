"""What the worker's container gets: variables, volumes and resources. Pure.

The fields are Kubernetes' own, less what would reach into the node (hostPath) or take the place of what the operator sets.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from trainingjob_api.spec.base import DataKey, Flag, KeyName, LabelName, ObjectName, Quantity, SpecModel, Whole, cel, one_of, refuse, rules
from trainingjob_api.spec.patterns import MOUNT_PATTERN, VARIABLE_PATTERN

RESERVED_PREFIXES = ("TRAININGJOB_", "TORCHELASTIC_")
RESERVED_NAMES = frozenset(
    ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK")
)
"""Variables that the product sets itself; a template that set them would break the group."""

FileMode = Annotated[Whole, Field(ge=0, le=0o777)]
VariableName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=VARIABLE_PATTERN)]
RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
ResourceMap = Annotated[dict[KeyName, Quantity], Field(max_length=32)]

_IS_FREE = " && ".join(
    [f"!self.name.startsWith('{prefix}')" for prefix in RESERVED_PREFIXES] + [f"!(self.name in {sorted(RESERVED_NAMES)})"]
)


class KeySelector(SpecModel):
    """One key of a Secret or a ConfigMap of the job's namespace."""

    name: ObjectName
    """The object's name."""
    key: DataKey
    """The key in it."""
    optional: Flag | None = None
    """true: the variable is left out where object or key are missing, instead of the pod waiting for them."""


class ValueSource(SpecModel):
    """Where a variable's value comes from: exactly one of the fields."""

    model_config = rules(cel("", "has(self.secretKeyRef) != has(self.configMapKeyRef)", "exactly one of secretKeyRef and configMapKeyRef"))

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "secretKeyRef", "configMapKeyRef")
        return self


class Variable(SpecModel):
    """One environment variable of agent and training processes."""

    model_config = rules(
        cel("", "!(has(self.value) && has(self.valueFrom))", "only one of value and valueFrom may be given"),
        cel("name", _IS_FREE, "is set by TrainingJob itself"),
    )

    name: VariableName
    """The variable's name. Names that the product sets itself (TRAININGJOB_*, RANK, MASTER_ADDR, …) are refused."""
    value: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """The value; a number needs quotes. $(NAME) is replaced by the variable NAME if it stands before this one, and $$ by $. Not the place
    for a secret."""
    value_from: ValueSource | None = None
    """Where the value comes from, instead of value."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
            raise refuse("", f"{name} is set by TrainingJob itself; remove it, or choose another name")
        return name

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise refuse("", "value and valueFrom are both given; keep one of them")
        return self


class SourceReference(SpecModel):
    """A Secret or a ConfigMap of the job's namespace, by name."""

    name: ObjectName
    """The object's name."""
    optional: Flag | None = None
    """true: the pod starts without it where it is missing."""


class VariablesFrom(SpecModel):
    """All keys of a Secret or a ConfigMap as environment variables: exactly one of secretRef and configMapRef."""

    model_config = rules(cel("", "has(self.secretRef) != has(self.configMapRef)", "exactly one of secretRef and configMapRef is needed"))

    prefix: Annotated[str, StringConstraints(max_length=128, pattern=VARIABLE_PATTERN)] | None = None
    """Put before every key."""
    secret_ref: SourceReference | None = None
    """A Secret."""
    config_map_ref: SourceReference | None = None
    """A ConfigMap."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "secretRef", "configMapRef")
        return self


class KeyPath(SpecModel):
    """One key and the file that it becomes."""

    key: DataKey
    """The key."""
    path: RelativePath
    """The file's path below the mount."""
    mode: FileMode | None = None
    """The file's permission bits, as a decimal number."""


class EmptyDir(SpecModel):
    """A folder that lives as long as its pod."""

    medium: Literal["", "Memory"] | None = None
    """Memory keeps it in the pod's memory."""
    size_limit: Quantity | None = None
    """How much it may hold."""


class ConfigMapVolume(SpecModel):
    """The files of a ConfigMap."""

    name: ObjectName
    """The ConfigMap's name."""
    items: Annotated[list[KeyPath], Field(max_length=64)] | None = None
    """Which keys become which files. Default: each key a file of its name."""
    default_mode: FileMode | None = None
    """The files' permission bits, as a decimal number."""
    optional: Flag | None = None
    """true: the pod starts without it where it is missing."""


class SecretVolume(SpecModel):
    """The files of a Secret."""

    secret_name: ObjectName
    """The Secret's name."""
    items: Annotated[list[KeyPath], Field(max_length=64)] | None = None
    """Which keys become which files. Default: each key a file of its name."""
    default_mode: FileMode | None = None
    """The files' permission bits, as a decimal number."""
    optional: Flag | None = None
    """true: the pod starts without it where it is missing."""


class ClaimVolume(SpecModel):
    """A PersistentVolumeClaim of the job's namespace; every worker mounts the same one."""

    claim_name: ObjectName
    """The claim's name."""
    read_only: Flag | None = None
    """true: mounted read-only."""


class Volume(SpecModel):
    """A volume of the worker pods: its name and exactly one kind."""

    model_config = rules(
        cel(
            "",
            "[has(self.emptyDir), has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
            "exactly one of emptyDir, configMap, secret and persistentVolumeClaim is needed",
        )
    )

    name: LabelName
    """What volumeMounts call it."""
    empty_dir: EmptyDir | None = None
    """A folder that lives as long as its pod."""
    config_map: ConfigMapVolume | None = None
    """The files of a ConfigMap."""
    secret: SecretVolume | None = None
    """The files of a Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim of the job's namespace."""

    @model_validator(mode="before")
    @classmethod
    def _stays_off_the_node(cls, value: Any) -> Any:
        if isinstance(value, dict) and "hostPath" in value:
            raise refuse("hostPath", "is not allowed, since it reaches into the node; take persistentVolumeClaim or emptyDir")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "emptyDir", "configMap", "secret", "persistentVolumeClaim")
        return self


class Mount(SpecModel):
    """Where a volume appears in the worker's container."""

    name: LabelName
    """The volume's name."""
    mount_path: Annotated[str, StringConstraints(max_length=1024, pattern=MOUNT_PATTERN)]
    """The folder, from the root."""
    sub_path: RelativePath | None = None
    """A path inside the volume, instead of its root."""
    read_only: Flag | None = None
    """true: the container cannot write to it."""


class ResourceClaimUse(SpecModel):
    """A claim of the pod's resourceClaims that the container uses."""

    name: LabelName
    """The entry's name in resourceClaims."""
    request: LabelName | None = None
    """One request of the claim, instead of all."""


class Resources(SpecModel):
    """What each worker pod asks for and may use. GPUs are said in workers.gpus."""

    requests: ResourceMap | None = None
    """What the scheduler sets aside, for example {cpu: 4, memory: 16Gi}."""
    limits: ResourceMap | None = None
    """What the worker may use at most."""
    claims: Annotated[list[ResourceClaimUse], Field(max_length=16)] | None = None
    """Devices of resourceClaims that the container uses."""
