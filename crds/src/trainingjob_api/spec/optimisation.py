"""How gradients change the weights: optimizer, schedule and regularisation. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainingjob_api.spec.base import Number, SpecModel, Whole, cel, refuse, rules

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Decay = Annotated[Number, Field(ge=0, lt=1)]


OWN_FIELDS = {
    "SGD": (),
    "Momentum": ("momentum",),
    "Adagrad": ("epsilon",),
    "RMSprop": ("alpha", "epsilon"),
    "Adam": ("beta1", "beta2", "epsilon"),
    "AdamW": ("beta1", "beta2", "epsilon"),
}
"""What each optimizer has beside learningRate and weightDecay."""


class Optimizer(SpecModel):
    """How gradients change the weights."""

    name: Literal["SGD", "Momentum", "Adagrad", "RMSprop", "Adam", "AdamW"] = "AdamW"
    """The method."""
    learning_rate: Positive = 0.001
    """The learning rate before the schedule scales it."""
    momentum: Decay = 0.9
    """Momentum: how much of the last step's direction is kept."""
    weight_decay: NotNegative = 0.0
    """How strongly weights are pulled to zero (L2; decoupled with AdamW)."""
    beta1: Decay = 0.9
    """Adam and AdamW: decay of the gradients' running mean."""
    beta2: Decay = 0.999
    """Adam and AdamW: decay of the squared gradients' running mean."""
    epsilon: Positive = 1e-8
    """Adagrad, RMSprop, Adam and AdamW: keeps the division finite."""
    alpha: Decay = 0.99
    """RMSprop: decay of the squared gradients' running mean."""

    @model_validator(mode="after")
    def _has_its_own_fields(self) -> Self:
        for field in sorted({field for fields in OWN_FIELDS.values() for field in fields} - set(OWN_FIELDS[self.name])):
            if getattr(self, field) != type(self).model_fields[field].default:
                owners = ", ".join(name for name, fields in OWN_FIELDS.items() if field in fields)
                raise refuse(field, f"has no effect with name: {self.name}; remove it, or take one of {owners}")
        return self


class Schedule(SpecModel):
    """How the learning rate changes: a function of the step alone, so that it is the same after any restart."""

    model_config = rules(
        cel("stepEvery", "self.name != 'Step' || has(self.stepEvery)", "is needed with name: Step"),
        cel("stepEvery", "self.name == 'Step' || !has(self.stepEvery)", "belongs to name: Step"),
    )

    name: Literal["Constant", "Linear", "Cosine", "Step"] = "Constant"
    """Constant keeps the learning rate; Linear and Cosine lower it to minimumFraction at the last step; Step multiplies it
    by factor every stepEvery steps."""
    warmup_steps: Annotated[Whole, Field(ge=0, le=10**9)] = 0
    """Steps over which the learning rate first rises from near zero."""
    minimum_fraction: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Linear and Cosine: the share of the learning rate that is left at the end."""
    step_every: Annotated[Whole, Field(ge=1, le=10**9)] | None = None
    """Step: how many steps lie between two reductions. Needed with Step."""
    factor: Annotated[Number, Field(gt=0, le=1)] = 0.1
    """Step: what the learning rate is multiplied by."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name == "Step" and self.step_every is None:
            raise refuse("stepEvery", "is needed with name: Step; add it")
        if self.name != "Step" and self.step_every is not None:
            raise refuse("stepEvery", f"has no effect with name: {self.name}; remove it, or set name: Step")
        return self


class Regularisation(SpecModel):
    """What keeps weights and gradients small, beside the optimizer's weightDecay."""

    l1: NotNegative = 0.0
    """Weight of the sum of the weights' absolute values in the loss."""
    gradient_clip_norm: Positive | None = None
    """Gradients with a larger norm than this, over all weights, are scaled down to it. Default: never."""
