"""Parameters that forward sets itself are put back between lanes, compared, and taken over; whatever way they are changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainingjob_trainer.checkpoint.flat import read_bytes, write_bytes
from trainingjob_trainer.checks.mistakes import UserMistake
from trainingjob_trainer.strategy import drift
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


def clamped(parameter: Tensor) -> None:
    with torch.no_grad():
        parameter.clamp_(-50, 50)


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


def test_what_wrote_the_same_bits_has_moved_nothing_at_a_new_process_and_at_an_old_one():
    old, new = model(), model()
    long, short = MovedParameters(old), MovedParameters(new)
    for _ in range(COMPARED_STEPS):
        step(long, lambda: None)
        long.apply()
    for _ in range(2):
        total = sum(step(moved, lambda made=made: clamped(made[0].weight)) for moved, made in ((long, old), (short, new)))
        long.check(total)
        short.check(total)
        long.apply()
        short.apply()
        assert same(state(old), state(new))


def test_old_processes_that_write_for_the_first_time_must_write_alike():
    parts = []
    for change in (in_place, replaced):
        made = model()
        moved = MovedParameters(made)
        for _ in range(COMPARED_STEPS):
            step(moved, lambda: None)
            moved.apply()
        parts.append(step(moved, lambda made=made, change=change: change(made.scale)))
    with pytest.raises(UserMistake, match="changes scale, and not alike"):
        moved.check(sum(parts))


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


def test_a_first_move_in_the_first_step_is_taken_over_and_seen_wherever_it_is():
    made = nn.Linear(3, 4)
    moved = MovedParameters(made)
    for number in range(2):
        wanted = made.weight.detach().clone()
        wanted[0, 1] += number + 1
        assert moved.check(step(moved, lambda number=number: made.weight.data[0, 1].add_(number + 1)))
        assert moved.is_lost == (number == 0)
        moved.apply()
        assert torch.equal(made.weight, wanted)


LAYOUTS = {
    "offset": torch.arange(8.0)[1:],
    "transposed": torch.arange(15.0).view(3, 5).t(),
    "channels last": torch.arange(162.0).view(2, 3, 3, 9).to(memory_format=torch.channels_last),
    "expanded": torch.arange(3.0)[:, None].expand(3, 7),
    "one column": torch.arange(15.0).view(5, 3)[:, 0],
    "one value": torch.tensor(2.0).expand(7),
    "half": torch.arange(45).view(5, 9)[:, 1:].t().bfloat16(),
    "complex": torch.view_as_complex(torch.arange(30.0).view(3, 5, 2)).t(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("most", [64, drift._CHUNK_BYTES])
def test_equal_bits_have_one_digest_whatever_their_layout(monkeypatch, layout, most):
    monkeypatch.setattr(drift, "_CHUNK_BYTES", most)
    value = LAYOUTS[layout]
    dense = value.clone(memory_format=torch.contiguous_format)
    assert drift.digest(value) == drift.digest(dense)
    assert drift.digests({"it": value}) == drift.digests({"it": dense})
    assert drift.digests({"it": value}, 0) == drift.digests({"it": dense}, 0)
    assert torch.equal(read_bytes(value, 1, 4), read_bytes(dense, 1, 4))
    dense.reshape(-1)[-1] += 1
    assert drift.digest(value) != drift.digest(dense)


def test_bytes_are_written_to_every_second_element():
    value = torch.zeros(3, 2)[:, 0]
    write_bytes(value, 1, 3, torch.tensor([4.0, 5.0]).view(torch.uint8))
    assert value.tolist() == [0, 4, 5]


def test_another_layout_of_the_same_bits_is_no_move_at_a_new_process_nor_at_an_old_one():
    parts = []
    for steps in (COMPARED_STEPS, 0):
        made = nn.Conv2d(3, 4, 3)
        moved = MovedParameters(made)
        for _ in range(steps):
            step(moved, lambda made=made: made.to(memory_format=torch.channels_last))
            moved.apply()
        parts.append(step(moved, lambda made=made: made.to(memory_format=torch.channels_last)))
        assert not moved.check(sum(parts))


def test_parameters_that_are_not_dense_are_watched_too():
    made = nn.ParameterList([nn.Parameter(torch.ones(4, 3)[:, 0]), nn.Parameter(torch.ones(1).expand(5), requires_grad=False)])
    moved = MovedParameters(made)
    assert moved.check(step(moved, lambda: through_data(made[0])))
    assert sorted(moved._after) == [0]


def test_where_a_step_may_be_passed_over_a_first_move_in_the_first_steps_is_undone():
    made = model()
    moved = MovedParameters(made)
    before = state(made)
    moved.keep(skips=True)
    through_data(made.scale)
    moved.end_lane(torch.zeros(WIDTH, dtype=torch.float64), votes=True)
    assert not moved.is_lost
    assert same(state(made), before)


class Gathered:
    """A transport that notes what this rank gives, and hands out what all have given."""

    def __init__(self, rows: list[Tensor]) -> None:
        self.rows = rows

    def all_gather(self, rows: Tensor, own: Tensor) -> None:
        self.rows.append(own)
        rows.copy_(torch.stack([*self.rows, own][:2]))

    def settle(self, works: list[None]) -> bool:
        return True


@pytest.mark.parametrize("differ", [False, True])
def test_a_new_process_and_an_old_one_must_write_alike(differ):
    parts, ranks = [], []
    for steps, change in ((COMPARED_STEPS, in_place), (0, replaced if differ else in_place)):
        made = model()
        moved = MovedParameters(made)
        for _ in range(steps):
            step(moved, lambda: None)
            moved.apply()
        parts.append(step(moved, lambda made=made, change=change: [clamped(made[0].weight), change(made.scale)]))
        ranks.append(moved)
    total, rows = sum(parts), []
    assert all(moved.check(total) for moved in ranks)
    ranks[0].compare(total, Gathered(rows), 2)
    if not differ:
        ranks[1].compare(total, Gathered(rows), 2)
        return
    with pytest.raises(UserMistake, match="changes scale, and not alike"):
        ranks[1].compare(total, Gathered(rows), 2)


@pytest.mark.parametrize("at", [(1,), (2,)])
def test_a_real_part_of_a_complex_parameter_is_watched(at):
    made = nn.ParameterList([nn.Parameter(torch.ones(3, dtype=torch.complex64)), nn.Parameter(torch.ones(2))])
    moved = MovedParameters(made)
    for _ in range(COMPARED_STEPS):
        step(moved, lambda: None)
        moved.apply()
    assert moved.check(step(moved, lambda: made[0].data.__setitem__(at, 7 + 0j)))


class Allocated(TorchDispatchMode):
    """Counts the bytes of the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        known = {each.untyped_storage().data_ptr() for each in tree_leaves(arguments) if isinstance(each, Tensor)}
        found = function(*arguments, **(named or {}))
        for each in tree_leaves(found):
            if isinstance(each, Tensor) and each.untyped_storage().data_ptr() not in known:
                self.largest = max(self.largest, each.untyped_storage().nbytes())
        return found


def test_the_first_steps_of_one_lane_copy_no_parameter():
    made = nn.ParameterList([nn.Parameter(torch.ones(4096, 1024)), nn.Parameter(torch.ones(1024, 4096).t())])
    moved = MovedParameters(made)
    with Allocated() as allocated:
        step(moved, lambda: None)
    assert allocated.largest <= made[0].nbytes / 2
