"""Parameters that forward sets itself are put back between lanes, compared, and taken over; whatever way they are changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.strategy.moved_parameters import COMPARED_STEPS, WIDTH, MovedParameters


def model() -> nn.Module:
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).double())
    made.register_parameter("scale", nn.Parameter(torch.tensor(2.0)))
    made.register_parameter("nothing", nn.Parameter(torch.ones(0, 2)))
    made.register_parameter("broken", nn.Parameter(torch.full((2,), float("nan"))))  # which is equal to nothing
    return made


def in_place(parameter: Tensor) -> None:
    with torch.no_grad():
        parameter.add_(1)


def through_data(parameter: Tensor) -> None:
    parameter.data.mul_(1.5)


def replaced(parameter: Tensor) -> None:
    parameter.data = parameter.data + 2


def state(made: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in made.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name].nan_to_num(7), other[name].nan_to_num(7)) for name in one)


def step(moved: MovedParameters, *lanes: Callable[[], None]) -> Tensor:
    """As a strategy: the sum of the lanes' parts."""
    total, part = torch.zeros(WIDTH, dtype=torch.float64), torch.zeros(WIDTH, dtype=torch.float64)
    moved.keep(several=len(lanes) > 1)
    for lane in lanes:
        lane()
        moved.end_lane(part, votes=True)
        total += part
    return total


@pytest.mark.parametrize("change", [in_place, through_data, replaced])
@pytest.mark.parametrize("steps_before", [0, COMPARED_STEPS + 1])
def test_each_lane_begins_from_the_same_and_all_go_on_with_what_they_made(change, steps_before):
    made = model()
    moved = MovedParameters(made)
    for _ in range(steps_before):
        assert not moved.check(step(moved, lambda: None))
        moved.apply()
    for _ in range(2):
        before = state(made)
        total = step(moved, *3 * [lambda: [change(made[1].weight), change(made.scale)]])
        assert same(state(made), before), "put back"
        assert moved.check(total)
        change(made[1].weight)
        change(made.scale)
        wanted = state(made)
        moved.put_back()
        moved.apply()
        assert same(state(made), wanted)
        assert not same(state(made), before)


def test_lanes_that_differ_are_refused_by_name():
    made = model()
    moved = MovedParameters(made)
    total = step(moved, lambda: through_data(made[0].bias), lambda: replaced(made[0].bias))
    with pytest.raises(UserMistake, match=r"^spec.training.task.class: forward or loss changes 0.bias, and not alike"):
        moved.check(total)
    with pytest.raises(UserMistake, match="not alike"):
        moved.check(step(moved, lambda: through_data(made[0].bias), lambda: None))


def test_a_lane_that_passes_less_often_has_no_say():
    made = model()
    moved = MovedParameters(made)
    total = step(moved, lambda: through_data(made[0].bias))
    part = torch.ones(WIDTH, dtype=torch.float64)
    moved.end_lane(part, votes=False)
    assert moved.check(total + part)


def test_the_optimizers_own_step_is_no_move():
    made = model()
    moved = MovedParameters(made)
    for _ in range(COMPARED_STEPS + 2):
        assert not moved.check(step(moved, lambda: None, lambda: None))
        moved.apply()
        for parameter in made.parameters():
            in_place(parameter)


def test_a_first_move_later_on_is_taken_over_and_its_old_value_is_known_to_be_lost():
    made = model()
    moved = MovedParameters(made)
    for _ in range(COMPARED_STEPS):
        step(moved, lambda: None)
        moved.apply()
    assert moved.check(step(moved, lambda: through_data(made.scale)))
    assert moved.is_lost, "if the step is interrupted, this process has no state"
    moved.apply()
    assert made.scale == 3
    assert moved.check(step(moved, lambda: through_data(made.scale)))
    assert not moved.is_lost
    assert made.scale == 3
