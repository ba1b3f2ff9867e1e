"""Where worker pods may run: affinity, tolerations, spreading. Pure. The fields are Kubernetes' own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from trainingjob_api.spec.base import KeyName, LabelName, Labels, LabelValue, ObjectName, SpecModel, Whole, cel, one_of, rules

Weight = Annotated[Whole, Field(ge=1, le=100)]
Values = Annotated[list[LabelValue], Field(max_length=64)]


class NodeRequirement(SpecModel):
    """A condition on a node's label or field."""

    key: KeyName
    """The label's or field's name."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label relates to values."""
    values: Values | None = None
    """The values; none with Exists and DoesNotExist, one number with Gt and Lt."""


Requirements = Annotated[list[NodeRequirement], Field(max_length=16)]


class NodeTerm(SpecModel):
    """Conditions that must all hold."""

    match_expressions: Requirements | None = None
    """Conditions on the node's labels."""
    match_fields: Requirements | None = None
    """Conditions on the node's fields, such as metadata.name."""


class NodeSelector(SpecModel):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=16)]
    """The terms."""


class PreferredNodes(SpecModel):
    """Nodes that are better than others."""

    weight: Weight
    """How much better."""
    preference: NodeTerm
    """Which nodes."""


class NodeAffinity(SpecModel):
    """Nodes that a worker must or should run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that it must run on."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredNodes], Field(max_length=16)] | None = None
    """Nodes that it should run on."""


class LabelRequirement(SpecModel):
    """A condition on a label."""

    key: KeyName
    """The label's name."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to values."""
    values: Values | None = None
    """The values; none with Exists and DoesNotExist."""


class LabelSelector(SpecModel):
    """Objects chosen by their labels; all conditions must hold."""

    match_labels: Labels | None = None
    """Labels that must have these values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] | None = None
    """Further conditions."""


class PodTerm(SpecModel):
    """Pods, and what counts as near them."""

    topology_key: KeyName
    """Near means: the node has the same value of this label."""
    label_selector: LabelSelector | None = None
    """Which pods."""
    namespaces: Annotated[list[LabelName], Field(max_length=16)] | None = None
    """In which namespaces. Default: the job's own."""
    namespace_selector: LabelSelector | None = None
    """In which namespaces, by their labels."""
    match_label_keys: Annotated[list[KeyName], Field(max_length=16)] | None = None
    """Only pods that have the same values of these labels."""
    mismatch_label_keys: Annotated[list[KeyName], Field(max_length=16)] | None = None
    """Only pods that have other values of these labels."""


class PreferredPods(SpecModel):
    """Pods that are better neighbours than others."""

    weight: Weight
    """How much better."""
    pod_affinity_term: PodTerm
    """Which pods."""


PodTerms = Annotated[list[PodTerm], Field(max_length=16)]
PreferredPodTerms = Annotated[list[PreferredPods], Field(max_length=16)]


class PodAffinity(SpecModel):
    """Pods that a worker must or should be near, or in podAntiAffinity, far from."""

    required_during_scheduling_ignored_during_execution: PodTerms | None = None
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: PreferredPodTerms | None = None
    """What should hold."""


class Affinity(SpecModel):
    """Where a worker must or should run."""

    node_affinity: NodeAffinity | None = None
    """By the node's labels."""
    pod_affinity: PodAffinity | None = None
    """Near other pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Far from other pods."""


class Toleration(SpecModel):
    """A taint that does not keep workers away."""

    key: KeyName | None = None
    """The taint's key; none, with operator Exists, means all taints."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists: any value. Equal, the default: this value."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Default: all effects."""
    toleration_seconds: Annotated[Whole, Field(ge=0, le=31_536_000)] | None = None
    """NoExecute: how long the worker stays. Default: for ever."""


class SpreadConstraint(SpecModel):
    """How evenly workers are spread."""

    max_skew: Annotated[Whole, Field(ge=1, le=1024)]
    """The largest difference between two places."""
    topology_key: KeyName
    """A place: all nodes with the same value of this label."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """Whether a worker waits or runs elsewhere."""
    label_selector: LabelSelector | None = None
    """Which pods are counted."""
    min_domains: Annotated[Whole, Field(ge=1, le=1024)] | None = None
    """The fewest places."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes outside the affinity count."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether tainted nodes count."""
    match_label_keys: Annotated[list[KeyName], Field(max_length=16)] | None = None
    """Only pods that have the same values of these labels."""


class ResourceClaim(SpecModel):
    """A device claim of the worker pods: a shared one, or one for each worker."""

    model_config = rules(
        cel(
            "",
            "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
            "exactly one of resourceClaimName and resourceClaimTemplateName is needed",
        )
    )

    name: LabelName
    """What resources.claims call it."""
    resource_claim_name: ObjectName | None = None
    """A ResourceClaim that all workers share."""
    resource_claim_template_name: ObjectName | None = None
    """A ResourceClaimTemplate from which each worker gets its own."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        one_of(self, "resourceClaimName", "resourceClaimTemplateName")
        return self


AnnotationValue = Annotated[str, StringConstraints(max_length=8192)]
