from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_api.spec.training import Schedule
from trainingjob_trainer.learning.schedule import learning_rate


def rates(schedule, total):
    return [round(learning_rate(schedule, 1.0, step, total), 6) for step in range(total)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(name="Constant"), [1, 1, 1, 1, 1]),
        (Schedule(name="Constant", warmup_steps=4), [0.25, 0.5, 0.75, 1, 1]),
        (Schedule(name="Linear"), [1, 0.75, 0.5, 0.25, 0]),
        (Schedule(name="Linear", minimum_fraction=0.2), [1, 0.8, 0.6, 0.4, 0.2]),
        (Schedule(name="Linear", warmup_steps=2), [0.5, 1, 1, 0.5, 0]),
        (Schedule(name="Cosine"), [1, 0.853553, 0.5, 0.146447, 0]),
        (Schedule(name="Cosine", minimum_fraction=0.5), [1, 0.926777, 0.75, 0.573223, 0.5]),
        (Schedule(name="Step", step_every=2, factor=0.1), [1, 1, 0.1, 0.1, 0.01]),
        (Schedule(name="Step", step_every=2, factor=0.5, warmup_steps=1), [1, 1, 1, 0.5, 0.5]),
        (Schedule(name="Cosine", warmup_steps=10), [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
    ids=lambda value: value.name if isinstance(value, Schedule) else None,
)
def test_the_table_of_schedules(schedule, expected):
    assert expected == rates(schedule, 5)


@pytest.mark.parametrize("name", ["Constant", "Linear", "Cosine", "Step"])
def test_a_run_of_one_step_trains_at_the_base_rate(name):
    assert rates(Schedule(name=name, step_every=1 if name == "Step" else None), 1) == [1.0]


@st.composite
def schedules(draw):
    name = draw(st.sampled_from(["Constant", "Linear", "Cosine", "Step"]))
    return Schedule(
        name=name,
        warmup_steps=draw(st.integers(0, 50)),
        minimum_fraction=draw(st.floats(0, 1)),
        step_every=draw(st.integers(1, 50)) if name == "Step" else None,
        factor=draw(st.floats(0.01, 1)),
    )


@settings(deadline=None)
@given(schedule=schedules(), base=st.floats(1e-8, 100), step=st.integers(0, 10_000), total=st.integers(1, 200))
def test_the_rate_is_bounded_at_any_step(schedule, base, step, total):
    rate = learning_rate(schedule, base, step, total)
    assert 0 <= rate <= base * (1 + 1e-12)
    if schedule.name in ("Linear", "Cosine") and min(step, total - 1) >= schedule.warmup_steps:
        assert rate >= base * schedule.minimum_fraction * (1 - 1e-9)


@settings(deadline=None)
@given(schedule=schedules(), total=st.integers(2, 200))
def test_the_rate_rises_in_the_warm_up_and_never_after_it(schedule, total):
    values = [learning_rate(schedule, 1.0, step, total) for step in range(total)]
    warm = min(schedule.warmup_steps, total)
    assert all(first < second for first, second in pairwise(values[:warm]))
    assert all(first >= second - 1e-12 for first, second in pairwise(values[warm:]))
