"""What a rollback's request is answered with, and that it is answered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from operator_builders import NOW, SETTINGS, make_job, make_log, make_pod, make_rendezvous, make_report, make_seen, make_status
from trainingjob_api.contract.messages import GenerationId, LogPosition
from trainingjob_api.contract.runtime import Termination
from trainingjob_api.status import RestorePoint, Status
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.state import Observed, PodPhase

ASKED = {"toStep": 100, "request": "again"}
POINT = RestorePoint(kind="Step", step=100, request="again")
CARRYING = make_status(attempt=2, restore=POINT, checkpoints=(100, 200))
"""Of a job whose second attempt goes back to checkpoint 100."""


def unheard(**log: Any) -> Observed:
    """A job that was completed while no operator listened. Worker 1 has opened its second attempt; `log`: what it tells alone."""
    position = make_log(seq=9, attempt=2, opened_attempt=0, checkpoint=500, done=True, **({"checkpoints": (300, 400, 500)} | log))
    told = [make_log(**(dict(position) | {"request": None, "missing_request": None, "restored_step": None}))] * 3
    told[1] = make_log(**(dict(position) | {"opened_attempt": 2}))
    return make_seen(make_job(CARRYING, rollback=ASKED), report=None, reporting=False, pods=(*left(told), make_rendezvous()))


def left(told: Sequence[LogPosition]) -> list[Any]:
    words = [Termination(code=0, done=True, log=log) for log in told]
    return [make_pod(index, phase=PodPhase.SUCCEEDED, exit_code=0, termination=said) for index, said in enumerate(words)]


def passes(seen: Observed, count: int = 3) -> list[tuple[Status, list[str]]]:
    """Each pass's status and the rollback events that it posts."""
    told = []
    for _ in range(count):
        decided = plan(seen, SETTINGS, NOW)
        told.append((decided.status, [event.reason for event in decided.events if event.reason.startswith("Roll")]))
        seen = with_status(seen, decided.status)
    return told


def with_status(seen: Observed, status: Status, **fields: Any) -> Observed:
    rollback = seen.job.spec.rollback
    asked = {"rollback": {"toStep": rollback.to_step, "request": rollback.request}} if rollback is not None else {}
    return replace(seen, job=make_job(status, **(asked | fields)))


def words(status: Status) -> tuple[str, str]:
    condition = status.condition("RolledBack")
    return (condition.status, condition.message) if condition is not None else ("", "")


@pytest.mark.parametrize("checkpoints", [(300, 400, 500), (100, 400, 500)], ids=["its checkpoint was dropped", "its checkpoint is kept"])
def test_a_rollback_that_nobody_listened_to_is_known_from_the_last_words(checkpoints: tuple[int, ...]) -> None:
    told = passes(unheard(request="again", restored_step=100, checkpoints=checkpoints))
    for status, _ in told:
        assert (status.phase, status.attempt, status.last_rollback_request) == ("Succeeded", 2, "again")
        assert words(status) == ("True", "request again: training went on from checkpoint 100")
    assert [events for _, events in told] == [["RolledBack"], [], []]


def test_a_lost_checkpoint_that_nobody_listened_to_is_known_from_the_last_words() -> None:
    told = passes(unheard(missing_request="again", restored_step=200))
    for status, _ in told:
        assert (status.phase, status.attempt, status.last_rollback_request) == ("Succeeded", 2, "again")
        assert words(status)[1].startswith("rollback.toStep: checkpoint 100 was lost before the job could go back to it")
    assert [events for _, events in told] == [["RollbackRefused"], [], []]


@pytest.mark.parametrize("checkpoints", [(300, 400, 500), (100, 400, 500)], ids=["its checkpoint was dropped", "its checkpoint is kept"])
def test_an_opened_rollback_of_which_nobody_tells_is_neither_refused_nor_repeated(checkpoints: tuple[int, ...]) -> None:
    seen = unheard(checkpoints=checkpoints)
    seen = replace(seen, pods=tuple(pod for pod in seen.pods if pod.index != 1))
    for status, events in passes(seen):
        assert (status.phase, status.attempt, status.opened_attempt, words(status), events) == ("Succeeded", 2, 2, ("", ""), [])


@pytest.mark.parametrize("answer", [{"missing_request": "again"}, {"request": "again"}], ids=["its checkpoint was lost", "carried out"])
def test_an_answered_request_is_not_answered_again_after_a_later_one(answer: dict[str, str]) -> None:
    log = make_log(attempt=2, opened_attempt=2, restored_step=100, **answer)
    report = make_report(attempt=2, generation=GenerationId(2, 1, 3), log=log)
    seen = make_seen(make_job(CARRYING, rollback=ASKED), report=report)
    first = passes(seen)[-1][0]
    assert first.last_rollback_request == "again"
    later = with_status(seen, first, rollback={"toStep": 999, "request": "later"})
    told = passes(later)
    for status, _ in told:
        assert status.last_rollback_request == "later"
        assert words(status)[1].startswith("rollback.toStep: there is no checkpoint of step 999")
    assert [events for _, events in told] == [["RollbackRefused"], [], []]
    withdrawn = replace(seen, job=make_job(told[-1][0]))
    assert passes(withdrawn) == [(told[-1][0], [])] * 3


@pytest.mark.parametrize(
    ("restored", "expected"),
    [
        (300, "training went on from checkpoint 300: checkpoint 400 was damaged"),
        (None, "training began anew: checkpoint 400 was damaged, and none before it was left"),
    ],
    ids=["an older one is good", "none is"],
)
def test_a_rollback_to_a_damaged_checkpoint_names_the_one_that_was_used(restored: int | None, expected: str) -> None:
    status = make_status(attempt=2, restore=RestorePoint(kind="Step", step=400, request="again"))
    log = make_log(attempt=2, opened_attempt=2, restored_step=restored, request="again", quarantined=(400,))
    report = make_report(attempt=2, generation=GenerationId(2, 1, 3), log=log)
    seen = make_seen(make_job(status, rollback={"toStep": 400, "request": "again"}), report=report)
    decided = plan(seen, SETTINGS, NOW)
    assert words(decided.status) == ("True", f"request again: {expected}")
    assert [event.message for event in decided.events if event.reason == "RolledBack"] == [f"request again: {expected}"]
