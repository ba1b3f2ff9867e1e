"""Every second since creation is in exactly one row."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from operator_builders import CREATED
from trainingjob_api.status import StepMark
from trainingjob_operator.controllers.training_job.ledger import Row, active_seconds, advance, goodput, lose, marked


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(list(Row)), st.none() | st.integers(0, 20)), max_size=30))
def test_the_rows_sum_to_the_wall_time_whatever_is_lost(history: list[tuple[int, Row, int | None]]) -> None:
    ledger: dict[str, float] = {}
    marks: tuple[StepMark, ...] = ()
    now = CREATED
    for number, (milliseconds, row, restored) in enumerate(history):
        later = now + timedelta(milliseconds=milliseconds)
        ledger, now = advance(ledger, now, later, row), later
        marks = marked(ledger, marks, number)
        if restored is not None:
            ledger, marks = lose(ledger, marks, restored)
    assert abs(sum(ledger.values()) - (now - CREATED).total_seconds()) < 1e-6
    assert all(seconds >= 0 for seconds in ledger.values())


def test_a_clock_that_goes_back_adds_nothing() -> None:
    assert advance({"Training": 5.0}, CREATED, CREATED - timedelta(seconds=3), Row.TRAINING) == {"Training": 5.0}


def test_steps_behind_the_restore_point_are_lost() -> None:
    marks = (StepMark(step=100, training_seconds=30.0), StepMark(step=200, training_seconds=60.0))
    assert lose({"Training": 75.0}, marks, 100) == ({"Training": 30.0, "Lost": 45.0}, marks[:1])


def test_without_a_mark_before_the_restore_point_all_is_lost() -> None:
    assert lose({"Training": 75.0}, (), 0) == ({"Training": 0.0, "Lost": 75.0}, ())


def test_goodput_is_training_over_all_time_but_the_finished() -> None:
    assert goodput({"Starting": 2.0, "Training": 98.0, "Finished": 1000.0}) == "98%"
    assert goodput({}) == ""


def test_a_deadline_does_not_count_suspended_time() -> None:
    assert active_seconds({"Starting": 1.0, "Training": 2.0, "Suspended": 500.0, "Finished": 9.0}) == 3.0
