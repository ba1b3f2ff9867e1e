"""What the measurements of training make of the processes' marks."""

from __future__ import annotations

import pytest

from bench import shrink, stall, throughput
from bench.training.workload import Mark, Marks, marks


def begin(at: float, step: int, group: float = 1) -> Mark:
    return Mark(at, "begin", step, group)


def test_marks_are_read_as_they_were_put_and_from_the_end_alone(tmp_path):
    process = Marks(tmp_path)
    for step in range(100):
        process.put("begin", step, 2)
    ((whole,), (end,)) = marks(tmp_path).values(), marks(tmp_path, 500).values()
    assert [(mark.what, mark.step, mark.value) for mark in whole] == [("begin", step, 2.0) for step in range(100)]
    assert 5 < len(end) < 50
    assert end == whole[-len(end) :]


def test_a_step_has_ended_when_the_next_of_its_group_begins():
    seen = {7: [begin(1.0, 5), begin(2.0, 6), begin(3.0, 6, 2), begin(4.5, 7, 2)], 8: [begin(2.1, 6), begin(3.1, 6, 2)]}
    assert shrink.first_ends(seen, [7], 1) == [4.5]
    assert shrink.first_ends(seen, [7, 8], 1) is None, "the second has not ended it yet"


def test_the_slowdown_is_over_steps_during_which_nothing_is_saved():
    found, now = [], 0.0
    for step in range(41):
        busy = step >= 10 and step % 10 < 3  # checkpoints of steps 10, 20, …: each makes three steps slower
        found.append(begin(now, step))
        if not busy:
            found.append(Mark(now, "quiet", step, 0))
        now += 1.5 if busy else 1.0
        if (step + 1) % 10 == 0:
            now += 0.5
            found.append(Mark(now, "save", step + 1, 0.5))
    assert stall.slowdowns(found) == pytest.approx([20.0, 20.0]), "0.5 s for the copy and 1.5 s for three steps, of 10 s"
    assert stall.waits(found) == [500.0, 500.0]


def test_a_throughput_is_the_slower_process_and_has_all_its_checkpoints():
    def process(seconds: float) -> list[Mark]:
        steps = range(throughput.LAST + 1)
        saves = [Mark(step * seconds, "save", step, 0.0) for step in steps if step and step % throughput.SAVE_EVERY == 0]
        return [begin(step * seconds, step) for step in steps] + saves

    assert throughput.rate({1: process(0.1), 2: process(0.2)}) == pytest.approx(throughput.SIZE.batch / 0.2)
    with pytest.raises(AssertionError, match="0 checkpoints"):
        throughput.rate({1: process(0.1), 2: [mark for mark in process(0.1) if mark.what == "begin"]})
    with pytest.raises(AssertionError, match="larger"):
        throughput.rate({1: process(0.01), 2: process(0.01)})
