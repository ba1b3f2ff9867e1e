"""How long a worker has been missing: only while somebody listens, and never for its predecessor's sake."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import make_failure, make_pod, make_rendezvous, make_report
from trainingjob_api.contract.intent import MemberView, Report
from trainingjob_api.contract.messages import GenerationId, LogPosition
from trainingjob_operator.controllers.training_job.identity import derive
from trainingjob_operator.controllers.training_job.state import PodPhase
from trainingjob_operator.controllers.training_job.streams import link as module
from trainingjob_operator.controllers.training_job.streams.link import _FIGURES, Link, _still


class Clock:
    """Stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
async def link() -> Link:
    """Its stream stands, and three workers are members."""
    found = Link("127.0.0.1:1", derive(b"key", "uid"), lambda: None)
    await found._stream.close()
    found._stream.connected = True
    found._hear(make_report())
    return found


def hear(link: Link, *workers: int) -> None:
    link._hear(make_report(members=tuple(MemberView(worker=worker, incarnation=0, phase="Stepping") for worker in workers)))


async def test_members_are_not_silent(link: Link, clock: Clock) -> None:
    clock.now += 100
    assert link.silences([make_pod(0), make_pod(1), make_rendezvous()], 600.0) == {}


async def test_silence_begins_when_a_member_is_no_longer_one(link: Link, clock: Clock) -> None:
    clock.now += 100
    hear(link, 0, 2)
    clock.now += 7
    assert link.silences([make_pod(0), make_pod(1)], 600.0) == {1: 7.0}
    hear(link, 0, 1, 2)
    assert link.silences([make_pod(0), make_pod(1)], 600.0) == {}


async def test_a_newcomer_has_its_time(link: Link, clock: Clock) -> None:
    pod = make_pod(5)
    assert link.silences([pod], 60.0) == {}
    clock.now += 60
    assert link.silences([pod], 60.0) == {}
    clock.now += 3
    assert link.silences([pod], 60.0) == {5: 3.0}


async def test_nobody_is_silent_where_nobody_listens(link: Link, clock: Clock) -> None:
    hear(link, 0)
    link._stream.connected = False
    clock.now += 50
    assert link.silences([make_pod(1)], 0.0) == {}
    link._changed(False)
    link._stream.connected = True
    assert link.silences([make_pod(1)], 0.0) == {}


@pytest.mark.parametrize("pod", [make_pod(1, phase=PodPhase.PENDING), make_pod(1, phase=PodPhase.FAILED), make_pod(1, deleting=True)])
async def test_only_pods_that_run_can_be_silent(link: Link, clock: Clock, pod: object) -> None:
    hear(link, 0)
    clock.now += 50
    assert link.silences([pod], 0.0) == {}  # type: ignore[list-item]


@pytest.mark.parametrize("turned", [False, True])
async def test_a_predecessor_that_is_still_there_does_not_make_its_successor_silent(link: Link, clock: Clock, turned: bool) -> None:
    """Its deletion may fail for long; another pod would be made for every pass."""
    hear(link, 0, 2)
    clock.now += 50
    pods = [make_pod(1, 0), make_pod(1, 1)]
    assert link.silences(reversed(pods) if turned else pods, 600.0) == {}


async def test_figures_alone_call_for_no_pass_and_are_kept():
    """A thousand jobs report every second; a pass for each would be more than a processor can make."""
    wakes: list[Report | None] = []
    found = Link("127.0.0.1:1", derive(b"key", "uid"), lambda: wakes.append(found.report(1)))
    await found._stream.close()

    def report(step: int | None, phase: str = "Stepping", **fields: Any) -> Report:
        return make_report(members=(MemberView(worker=0, incarnation=0, phase=phase, step=step),), step=step, **fields)

    first, further = report(None), report(7, loss=0.5, samples_per_second=3.0, training_seconds=2.0, metrics={"accuracy": 0.9})
    begun, changed = report(1), report(8, phase="Idle")
    for told in (first, begun, further, changed):
        found._hear(told)
        assert found.report(1) == told
    assert wakes == [first, begun, changed]


async def test_every_field_of_a_report_but_the_figures_calls_for_a_pass():
    """A field that is added to reports calls for one too, unless it is named as a figure."""
    before = make_report()
    values: dict[str, Any] = {
        "attempt": 2,
        "generation": GenerationId(1, 1, 9),
        "stage": "Over",
        "reason": "another",
        "world": 1,
        "members": (),
        "total_steps": 77,
        "log": LogPosition(seq=99),
        "state_lost": True,
        "failures": (make_failure("Lost"),),
        "failure_count": 5,
        "saved_request": "a",
        "stopped": "b",
        "stopped_at_step": 3,
        "trouble": "the store is full",
        "stalled": "Data",
        "waits_for": "worker 1 waits",
        "not_finite": "loss is NaN",
        "keeps": True,
        "links": "workers 0 and 2 cannot reach each other",
        "epoch": 9,
    }
    assert set(values) == set(Report.model_fields) - {"type", "step", *_FIGURES}
    assert [name for name, value in values.items() if _still(before.model_copy(update={name: value})) == _still(before)] == []


async def test_a_report_of_a_former_connection_is_no_report(link: Link) -> None:
    """What has happened since is told by the first one that comes over the new one, which calls for a pass."""
    wakes: list[bool] = []
    link._wake = lambda: wakes.append(link.reporting)
    assert link.reporting
    link._stream.connected = False
    link._changed(False)
    link._stream.connected = True
    link._changed(True)
    assert (link.standing, link.reporting) == (True, False)
    link._hear(make_report(step=241))
    assert wakes == [False, False, True]


async def test_silence_is_counted_from_the_last_sign_of_life(link: Link, clock: Clock) -> None:
    link._stream.heard = clock.now
    clock.now += 12
    assert link.unheard_seconds == 12.0
