"""What a training process says of its pace."""

from __future__ import annotations

import math

import pytest

from trainingjob_agent.stamp import StampPage, StampWriter
from trainingjob_api.contract.channel import Pace
from trainingjob_trainer.reporting import PACE_SECONDS, Reporter


class Said:
    """Takes the channel's place: remembers what was sent."""

    def __init__(self) -> None:
        self.messages: list = []

    def send(self, message) -> None:
        self.messages.append(message)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def scene():
    page = StampPage("test")
    said, clock, stamp = Said(), Clock(), StampWriter(page.descriptor)
    yield Reporter(said, stamp, 1000, clock), said, clock
    stamp.close()
    page.close()


def take_step(reporter: Reporter, clock: Clock, step: int, loss: float, seconds: float, attempt: int = 1) -> None:
    began = reporter.step_begins(step - 1)
    clock.now += seconds
    reporter.step_ended(began, attempt, step, 10, loss, {})


def test_the_pace_is_told_about_once_a_second_with_the_last_loss(scene) -> None:
    reporter, said, clock = scene
    for step in range(1, 11):
        take_step(reporter, clock, step, loss=1.0 / step, seconds=PACE_SECONDS / 4)
    paces = [message for message in said.messages if isinstance(message, Pace)]
    assert [pace.step for pace in paces] == [4, 8]
    assert paces[1].loss == pytest.approx(1 / 8)
    assert paces[1].samples_per_second == pytest.approx(40 / PACE_SECONDS)


def test_a_pace_without_a_step_of_its_own_repeats_the_last_loss(scene) -> None:
    reporter, said, clock = scene
    take_step(reporter, clock, 1, loss=0.5, seconds=0.1)
    reporter.pace(1, {"accuracy": 1.0})
    assert (said.messages[-1].loss, said.messages[-1].metrics) == (0.5, {"accuracy": 1.0})


def test_a_loss_that_is_not_finite_is_told_as_none(scene) -> None:
    reporter, said, clock = scene
    take_step(reporter, clock, 1, loss=math.nan, seconds=PACE_SECONDS)
    assert said.messages[-1].loss is None


def test_training_time_starts_anew_with_an_attempt(scene) -> None:
    reporter, said, clock = scene
    take_step(reporter, clock, 1, loss=1.0, seconds=2.0)
    take_step(reporter, clock, 1, loss=1.0, seconds=3.0, attempt=2)
    assert [message.training_seconds for message in said.messages] == pytest.approx([2.0, 3.0])
