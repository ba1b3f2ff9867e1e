"""How work and state are cut: everything exactly once, whoever is there."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_trainer.checkpoint.shares import Extent, chunks, shares
from trainingjob_trainer.strategy.lanes import lanes_of, micro_batches, row_of_lane, rows_per_rank, share
from trainingjob_trainer.strategy.order import SampleOrder
from trainingjob_trainer.strategy.reduction import tree_sum

sizes = st.integers(1, 40)


@given(st.integers(0, 300), sizes, sizes, st.one_of(st.none(), sizes))
def test_every_id_is_computed_exactly_once(samples, lanes, world, size):
    ids = torch.arange(samples) * 7
    seen = []
    for rank in range(world):
        for lane in lanes_of(rank, world, lanes):
            positions = share(samples, lanes, lane)
            pieces = list(micro_batches(ids[positions.start : positions.stop], size))
            assert all(0 < len(piece) <= (size or samples) for piece in pieces)
            assert max(map(len, pieces), default=0) - min(map(len, pieces), default=0) <= 1
            seen += [number for piece in pieces for number in piece.tolist()]
    assert seen == ids.tolist()


@given(st.integers(0, 300), sizes)
def test_parts_differ_by_at_most_one(length, parts):
    lengths = [len(share(length, parts, part)) for part in range(parts)]
    assert sum(lengths) == length
    assert max(lengths) - min(lengths) <= 1


@given(sizes, sizes)
def test_every_lane_has_a_row_of_its_own(world, lanes):
    rows = row_of_lane(world, lanes)
    assert len(rows) == len(set(rows)) == lanes
    assert all(0 <= row < world * rows_per_rank(world, lanes) for row in rows)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_sample_once_whatever_the_batch(length, batch, seed, epoch):
    order = SampleOrder(length, batch, seed)
    first = epoch * order.steps_per_epoch
    steps = range(first, first + order.steps_per_epoch)
    seen = torch.cat([order.batch(step) for step in steps])
    assert sorted(seen.tolist()) == list(range(length))
    assert order.samples(steps[-1] + 1) == (epoch + 1) * length
    assert torch.equal(SampleOrder(length, batch, seed).batch(steps[-1]), order.batch(steps[-1]))


extents = st.lists(st.builds(Extent, st.integers(0, 50), st.sampled_from([1, 2, 4, 8])), max_size=12)


@given(extents, st.integers(1, 9))
def test_every_element_is_saved_by_exactly_one_rank(state, world):
    pieces = [piece for rank in range(world) for piece in shares(state, world, rank)]
    seen = [(piece.number, element) for piece in pieces for element in range(piece.start, piece.stop)]
    assert seen == [(number, element) for number, extent in enumerate(state) for element in range(extent.elements)]
    loads = [sum((piece.stop - piece.start) * state[piece.number].item for piece in shares(state, world, rank)) for rank in range(world)]
    assert max(loads) - min(loads) <= 2 * 8


@given(extents, st.integers(16, 100))
def test_a_state_travels_in_runs_that_fit_the_buffer(state, size):
    runs = chunks(state, size)
    assert all(sum((piece.stop - piece.start) * state[piece.number].item for piece in run) <= size for run in runs)
    seen = [(piece.number, element) for run in runs for piece in run for element in range(piece.start, piece.stop)]
    assert seen == [(number, element) for number, extent in enumerate(state) for element in range(extent.elements)]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=17))
def test_the_fixed_tree_adds_neighbours_first(values):
    rows = [torch.tensor([value]) for value in values]
    while len(rows) > 1:
        rows = [rows[i] + rows[i + 1] if i + 1 < len(rows) else rows[i] for i in range(0, len(rows), 2)]
    assert torch.equal(tree_sum(torch.tensor(values)[:, None]), rows[0])
