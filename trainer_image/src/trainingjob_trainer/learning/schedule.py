"""The learning rate as a function of the step. Pure.

There is no scheduler object and so no scheduler state: a resumed, rolled back or regrouped run asks again with its step.
"""

from __future__ import annotations

import math

from trainingjob_api.spec.training import Schedule


def learning_rate(schedule: Schedule, base: float, step: int, total_steps: int) -> float:
    """The learning rate of one step.

    Warm-up rises in a straight line from base / warmupSteps at step 0 to `base` at step warmupSteps - 1; the schedule's
    own curve begins after it, at `base`, and ends with the last step.

    Args:
        schedule: Constant, Linear, Cosine or Step.
        base: the optimiser's learning rate.
        step: the step about to be taken, counted from 0. Past the end the last step's rate holds.
        total_steps: of the whole run.

    Returns:
        A rate from 0 to `base`; with Linear and Cosine it is base * minimumFraction at the last step, and not below it after the warm-up.
    """
    step = max(0, min(step, total_steps - 1))
    if step < schedule.warmup_steps:
        return base * (step + 1) / schedule.warmup_steps
    after = step - schedule.warmup_steps
    length = total_steps - 1 - schedule.warmup_steps
    progress = after / length if length > 0 else 0.0
    return base * _fraction(schedule, after, progress)


def _fraction(schedule: Schedule, after: int, progress: float) -> float:
    """What is left of the base rate, `after` steps after the warm-up, `progress` (0 to 1) on the way to the last step."""
    floor = schedule.minimum_fraction
    match schedule.name:
        case "Constant":
            return 1.0
        case "Linear":
            return max(floor, 1.0 - (1.0 - floor) * progress)
        case "Cosine":
            return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
        case "Step":
            return float(schedule.factor ** (after // (schedule.step_every or 1)))
