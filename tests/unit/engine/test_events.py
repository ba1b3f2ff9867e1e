"""A job's story: one event for a thing, one that counts for a thing that keeps happening, and no error worth another pass."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from operator_builders import NOW, UID
from trainingjob_operator.controllers.training_job.reasons import FOLDED, Reason, normal, warning
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS, job_key
from trainingjob_operator.engine.cluster.api import ApiError, ClosingError
from trainingjob_operator.engine.cluster.events import Events
from trainingjob_operator.engine.values import Event
from unit.engine.scripted import Scripted

KEY = job_key("team", "digits")


class Story:
    """Events of one job, and what became of them."""

    def __init__(self) -> None:
        self.api = Scripted()
        self.events = Events(self.api, TRAINING_JOBS, FOLDED)  # type: ignore[arg-type]

    async def tell(self, *events: Event, answers: list[Any] | None = None) -> None:
        self.api.answers += [{} for _ in events] if answers is None else answers
        await self.events.post(KEY, UID, events, NOW)

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.api.asked]


def checkpoint(step: int) -> Event:
    return normal(Reason.CHECKPOINT_COMMITTED, f"checkpoint {step} is in storage")


@pytest.fixture
def story() -> Story:
    return Story()


async def test_an_event_is_about_the_job(story: Story) -> None:
    await story.tell(warning(Reason.WORKER_LOST, "boom " * 1000))
    (body,) = story.api.bodies
    assert body["involvedObject"]["uid"] == UID
    assert (body["type"], body["reason"], body["count"]) == ("Warning", "WorkerLost", 1)
    assert len(body["message"]) == 1024
    assert body["metadata"]["namespace"] == "team"


async def test_checkpoints_are_one_event_that_counts(story: Story) -> None:
    for step in (100, 200, 300):
        await story.tell(checkpoint(step))
    assert story.methods() == ["POST", "PATCH", "PATCH"]
    assert story.api.bodies[-1] | {"lastTimestamp": ""} == {"count": 3, "lastTimestamp": "", "message": "checkpoint 300 is in storage"}


async def test_other_things_are_an_event_each_unless_they_say_the_same(story: Story) -> None:
    await story.tell(warning(Reason.WORKER_LOST, "a"), warning(Reason.WORKER_LOST, "b"), warning(Reason.WORKER_LOST, "a"))
    assert story.methods() == ["POST", "POST", "PATCH"]


async def test_an_event_that_has_expired_is_made_anew(story: Story) -> None:
    await story.tell(checkpoint(100))
    await story.tell(checkpoint(200), answers=[ApiError(404, "NotFound", ""), {}])
    await story.tell(checkpoint(300))
    assert story.methods() == ["POST", "PATCH", "POST", "PATCH"]
    assert [body["count"] for body in story.api.bodies] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "error", [ApiError(403, "Forbidden", ""), ApiError(500, "InternalError", ""), aiohttp.ClientError(), TimeoutError()]
)
async def test_a_lost_event_is_logged_and_nothing_else(story: Story, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    await story.tell(checkpoint(100), warning(Reason.WORKER_LOST, "a"), answers=[error, {}])
    assert "an event was lost (CheckpointCommitted)" in caplog.text
    await story.tell(checkpoint(200))
    assert story.methods() == ["POST", "POST", "POST"]


async def test_where_all_is_being_deleted_there_is_no_story_to_tell(story: Story) -> None:
    with pytest.raises(ClosingError):
        await story.tell(checkpoint(100), checkpoint(200), answers=[ClosingError(403, "Forbidden", "the namespace is being terminated")])
    assert story.methods() == ["POST"]
