"""Workers whose weights are not the same any more: noticed early, named, and not saved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_trainer.strategy import drift
from unit.trainer.conftest import make_spec

words = st.binary(min_size=8, max_size=8)


def drifting(at: int, every: int, **training):
    spec = make_spec(checkpoint={"everySteps": every}, steps=100, **training)
    spec["training"]["task"] = {"class": "unit.trainer.collective_tasks:Collective", "parameters": {"kind": "drifting", "at": at}}
    return spec


@pytest.mark.parametrize(
    ("at", "every", "noticed", "saved", "reduction"),
    [
        (4, 50, 4, [], "Fast"),  # in the digest of one of the first steps
        (4, 50, 4, [], "Deterministic"),
        (10, 4, 12, [4, 8], "Fast"),  # before the next checkpoint
        (60, 50, 64, [50], "Fast"),  # in the digest of every 64th step
        (90, 60, 100, [60], "Fast"),  # at the end
    ],
)
def test_a_weight_that_drifts_at_one_worker_ends_the_job_by_name_and_unsaved(make_hub, at, every, noticed, saved, reduction):
    hub = make_hub(drifting(at, every, reduction=reduction), 3)
    hub.start()
    hub.wait(lambda: len(hub.user_errors) == 3, "told by all")
    for said in hub.user_errors:
        assert f"the workers' weights have drifted apart by step {noticed}: 3.bias is another one at worker 1." in said
    assert [save.step for save in hub.committed] == saved


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=8))
def test_the_sum_of_digests_shows_whether_all_are_equal(values):
    parts = [drift.encode(drift.digests({"weight": torch.full((3,), value)})) for value in values]
    total = [sum(column) for column in zip(*parts, strict=True)]
    assert drift.agree(total, len(values)) == (len(set(values)) == 1)


def test_the_sums_are_exact_for_a_thousand_ranks():
    largest = [float(0xFFFF)] * 4 + [float(0xFFFF) ** 2] * 4
    total = [1000 * each for each in largest]
    assert drift.agree(total, 1000)
    assert not drift.agree([total[0] - 1, *total[1:4], total[4] - 2 * 0xFFFF + 1, *total[5:]], 1000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.bool, torch.int16, torch.complex64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0,)])
def test_any_bit_of_any_tensor_counts(dtype, shape):
    tensor = torch.ones(shape, dtype=dtype)
    before = int(drift.digests({"it": tensor}))
    assert int(drift.digests({"it": tensor.clone()})) == before
    if tensor.numel():
        tensor.view(-1)[-1] = 0
        assert int(drift.digests({"it": tensor})) != before


def test_windows_come_round_to_every_element():
    tensor = torch.zeros(3 * drift.WINDOW_ELEMENTS - 5)
    before = [int(drift.digests({"it": tensor}, window)) for window in range(6)]
    tensor[-1] = 1
    after = [int(drift.digests({"it": tensor}, window)) for window in range(6)]
    assert [one != other for one, other in zip(before, after, strict=True)] == [False, False, True] * 2


def test_the_first_tensor_that_differs_is_named_with_those_who_are_in_the_minority():
    rows = [[5, 7, 9], [5, 7, 9], [5, 8, 1], [5, 7, 9]]
    assert drift.first_difference(rows, ["a", "b", "c"]) == ("b", [2])
    assert drift.first_difference([[1, 2]] * 3, ["a", "b"]) is None
