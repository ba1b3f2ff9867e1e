"""A collective that is waited for in turns of a tenth of a second has one verdict: its own."""

from __future__ import annotations

from datetime import timedelta

from trainingjob_trainer.transport.gloo import GlooTransport


class Ended:
    """A collective that ends in the moment in which a turn's time is up: torch tells of the time, and then that it has ended."""

    def __init__(self, error: str = "") -> None:
        self._error = error
        self.asked = 0

    def wait(self, _: timedelta) -> bool:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("Operation timed out!")
        if self._error:
            raise RuntimeError(self._error)
        return True

    def is_completed(self) -> bool:
        return True


def no_store(*_: object) -> object:
    raise AssertionError("no group is formed here")


def test_one_that_ended_well_as_the_turn_was_over_has_ended_well() -> None:
    work = Ended()
    assert GlooTransport(no_store).settle([work])
    assert work.asked == 2


def test_one_that_failed_as_the_turn_was_over_has_failed() -> None:
    assert not GlooTransport(no_store).settle([Ended("Connection closed by peer")])
