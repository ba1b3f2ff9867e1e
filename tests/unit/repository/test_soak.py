"""The soak's own measure of memory: a leak shows, and what a process makes once does not."""

from e2e.soak.memory import Course

MINUTES = [second / 30 for second in range(120)]
"""Four minutes of samples, every two seconds."""


def course(mib: list[float]) -> Course:
    return Course.of([(60 * minute, value) for minute, value in zip(MINUTES, mib, strict=True)])


def test_a_leak_is_not_flat_and_its_slope_is_told():
    leaks = course([60 + 0.7 * minute for minute in MINUTES])
    assert not leaks.is_flat()
    assert round(leaks.mib_per_minute, 3) == 0.7


def test_what_is_made_once_and_what_comes_and_goes_is_flat():
    assert course([40.0] * 30 + [60.0] * 90).is_flat()
    assert course([60.0 + second % 2 for second in range(120)]).is_flat()
    assert course([80.0 - 0.5 * minute for minute in MINUTES]).is_flat()
