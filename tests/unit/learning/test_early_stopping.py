import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_api.spec.training import EarlyStopping as Spec
from trainingjob_trainer.learning.early_stopping import EarlyStopping


def stops_at(values, spec):
    state = EarlyStopping()
    for number, value in enumerate(values, start=1):
        state, stop = state.observe({spec.metric: value}, spec)
        if stop:
            return number
    return None


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ([3, 2, 1, 1, 1], Spec(patience=2), 5),
        ([3, 2, 1, 1], Spec(patience=2), None),
        ([3, 4, 2, 4, 1, 4], Spec(patience=2), None),
        ([1, 2, 3, 3, 3], Spec(mode="Maximise", patience=2), 5),
        ([3, 2.95, 2.9], Spec(patience=2, minimum_delta=0.5), 3),
        ([3, 2.5, 2.0], Spec(patience=1, minimum_delta=0.5), None),
        ([3, 2.9, 2.8, 2.4], Spec(patience=3, minimum_delta=0.5), None),
        ([math.nan, math.nan], Spec(patience=2), 2),
        ([math.nan, 5, 6], Spec(patience=2), None),
        ([-math.inf, 5, 4], Spec(patience=2), None),
        ([5, 5], Spec(patience=1), 2),
    ],
)
def test_the_table_of_stops(values, spec, expected):
    assert expected == stops_at(values, spec)


def test_an_unknown_metric_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"training\.earlyStopping\.metric: the task does not measure 'f2'; it measures accuracy, loss"):
        EarlyStopping().observe({"loss": 1.0, "accuracy": 0.5}, Spec(metric="f2"))


@settings(deadline=None)
@given(values=st.lists(st.floats(), max_size=10), more=st.lists(st.floats(), max_size=10))
def test_the_state_survives_json_at_any_point(values, more):
    state, spec = EarlyStopping(), Spec(patience=3)
    for value in values:
        state, _ = state.observe({"loss": value}, spec)
    restored = EarlyStopping.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))
    assert state == restored
    for value in more:
        assert state.observe({"loss": value}, spec) == restored.observe({"loss": value}, spec)


def test_an_empty_record_is_the_beginning():
    assert EarlyStopping() == EarlyStopping.from_json({})
