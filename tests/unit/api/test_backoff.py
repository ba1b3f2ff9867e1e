"""One rule for all waits: they double up to a limit, and are spread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_api.backoff import Backoff


def test_a_wait_doubles_with_each_failure_in_a_row_up_to_a_limit() -> None:
    assert [Backoff(0.5, 5.0).base(failures) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_wait_is_spread_between_its_two_multiples() -> None:
    assert [Backoff(2.0, 60.0).seconds(1, chance) for chance in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    assert [Backoff(2.0, 60.0, high=1.0).seconds(2, chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 3.0, 4.0]


@given(st.floats(0.01, 10), st.floats(1, 1000), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_its_limit_spread(first: float, longest: float, failures: int, chance: float) -> None:
    backoff = Backoff(first, longest)
    assert 0.5 * min(first, longest) <= backoff.seconds(failures, chance) <= 1.5 * longest
    assert backoff.base(failures) <= backoff.base(failures + 1)
