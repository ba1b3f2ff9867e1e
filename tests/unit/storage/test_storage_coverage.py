"""A save covers a tensor if every element lies in a piece; overlapping pieces are counted once."""

import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.storage import coverage
from trainingjob_api.storage.coverage import gaps, missing_box, run_boxes
from trainingjob_api.storage.manifest import BadManifest, TensorSlice


def piece(global_shape=(2, 3), shard=0, **fields):
    base = {"name": "w", "shard": f"{shard:05d}.safetensors", "global_shape": global_shape, "dtype": "U8", "kind": "sharded", "begin": 0}
    return TensorSlice(**(base | fields))


def run(start, stop, global_shape=(2, 3), **fields):
    return piece(global_shape, start=start, stop=stop, end=stop - start, **fields)


def box(offsets, shape, global_shape=(2, 3), **fields):
    return piece(global_shape, offsets=offsets, shape=shape, end=math.prod(shape), **fields)


@pytest.mark.parametrize(
    ("pieces", "missing"),
    [
        ([run(0, 6)], []),
        ([run(3, 6), run(0, 3)], []),
        ([run(0, 4), run(2, 6)], []),
        ([run(0, 2), run(3, 6)], ["w[0:1, 2:3]"]),
        ([run(1, 6)], ["w[0:1, 0:1]"]),
        ([run(0, 5)], ["w[1:2, 2:3]"]),
        ([box((0, 0), (1, 3)), box((1, 0), (1, 3))], []),
        ([box((0, 0), (1, 3)), box((0, 0), (1, 3), shard=1)], ["w[1:2, 0:3]"]),
        ([box((0,), (2,), (4,)), box((1,), (2,), (4,))], ["w[3:4]"]),
        ([box((0, 0), (2, 2)), box((0, 1), (1, 2))], ["w[1:2, 2:3]"]),
        ([box((0, 0), (1, 3)), run(2, 6)], []),
        ([box((0, 0), (1, 3)), run(4, 6)], ["w[1:2, 0:1]"]),
        ([run(0, 1, kind="local")], []),
        ([run(0, 0, (0, 3))], []),
        ([box((0, 0), (0, 3), (0, 3))], []),
        ([run(0, 1, ())], []),
        ([run(0, 0, ())], ["w"]),
        ([box((), (), ())], []),
        ([run(0, 5), run(0, 2, (3,), name="b")], ["b[2:3]", "w[1:2, 2:3]"]),
    ],
)
def test_what_no_piece_holds_is_named(pieces, missing):
    assert [str(gap) for gap in gaps(pieces)] == missing


def test_pieces_of_a_tensor_that_disagree_are_refused():
    with pytest.raises(BadManifest, match="w: its pieces disagree"):
        gaps([run(0, 6), run(0, 6, (3, 2))])


SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def boxes_in(draw, shape):
    spans = [sorted((draw(st.integers(0, length)), draw(st.integers(0, length)))) for length in shape]
    return tuple((first, last) for first, last in spans)


def cells(box):
    return set(itertools.product(*(range(first, last) for first, last in box)))


@given(SHAPES, st.data())
def test_boxes_cover_exactly_the_cells_that_they_have(shape, data):
    boxes = data.draw(st.lists(boxes_in(shape), max_size=8))
    hole = missing_box([(0, length) for length in shape], boxes)
    lacking = cells(tuple((0, length) for length in shape)) - set().union(*map(cells, boxes))
    if not lacking:
        assert hole is None or cells(hole) == set()
    else:
        assert hole is not None
        assert cells(hole)
        assert cells(hole) <= lacking


@given(SHAPES, st.data())
def test_a_tensor_cut_into_boxes_lacks_what_is_taken_away(shape, data):
    """Boxes of one sharding do not overlap: whichever of them is taken away is missing, though copies of the others are there."""
    edges = [sorted({0, length, *data.draw(st.lists(st.integers(0, length), max_size=2))}) for length in shape]
    grid = list(itertools.product(*(list(itertools.pairwise(cuts)) for cuts in edges)))
    whole = [(0, length) for length in shape]
    if math.prod(shape):
        assert missing_box(whole, grid * 2) is None
        for taken in grid:
            hole = missing_box(whole, [each for each in grid * 2 if each != taken])
            assert hole is not None
            assert cells(hole) <= cells(taken)


@given(SHAPES, st.integers(0, 700), st.integers(0, 700))
def test_a_run_of_elements_is_the_same_elements_as_boxes(shape, start, stop):
    stop = min(stop, math.prod(shape))
    found = list(run_boxes(shape, start, stop))
    every = list(itertools.product(*(range(length) for length in shape)))
    assert sorted(itertools.chain.from_iterable(map(cells, found))) == every[start:stop]
    assert len(found) <= max(1, 2 * len(shape))


def test_a_mesh_of_4096_ranks_is_looked_through_quickly():
    side, shape = 64, (512, 512)
    pieces = [box((8 * row, 8 * column), (8, 8), shape) for row in range(side) for column in range(side)]
    began = time.process_time()
    assert gaps(pieces) == []
    assert [str(gap) for gap in gaps(pieces[:-1])] == ["w[504:512, 504:512]"]
    assert time.process_time() - began < 2


def test_boxes_that_overlap_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(coverage, "MAX_SLABS", 10_000)
    dimensions, halves = 8, [((0, 99),) * 7 + half for half in (((0, 50),), ((50, 99),))]
    nested = [((depth, 99 - depth),) * dimensions for depth in range(1, 40)]
    with pytest.raises(BadManifest, match="overlap in more than"):
        missing_box([(0, 99)] * dimensions, [*halves, *nested])
