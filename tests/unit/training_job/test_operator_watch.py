"""A job to whose rendezvous no stream can be opened is silent too."""

from __future__ import annotations

from pathlib import Path

import pytest

from operator_builders import make_job, make_status
from trainingjob_operator.controllers.training_job.cluster.backend import KubernetesCluster
from trainingjob_operator.controllers.training_job.identity import derive
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.controllers.training_job.streams import link as links
from trainingjob_operator.controllers.training_job.streams import watch as watches
from trainingjob_operator.controllers.training_job.streams.link import Link
from trainingjob_operator.controllers.training_job.streams.watch import Watch
from trainingjob_operator.local.backend import LocalCluster
from unit.engine.scripted import Scripted
from unit.local.manifests import KEY, make_jobs


class Clock:
    """Stands until a test moves it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(watches, "time", found)
    monkeypatch.setattr(links, "time", found)
    return found


async def heard(clock: Clock) -> Link:
    """A link over which something has just come."""
    link = Link("127.0.0.1:1", derive(b"key", "uid"), lambda: None)
    await link.close()
    link._stream.heard = clock.now
    return link


def test_without_a_link_the_silence_begins_with_the_first_look(clock: Clock) -> None:
    watch = Watch()
    assert watch.look(None) == (0.0, True)
    clock.now += 14.0
    assert watch.look(None) == (14.0, True)
    clock.now += 1.0
    assert watch.look(None) == (15.0, False)


async def test_once_a_link_is_gone_the_silence_begins_with_the_last_that_came_over_it(clock: Clock) -> None:
    watch = Watch()
    clock.now += 3600.0
    link = await heard(clock)
    clock.now += 2.0
    assert watch.look(link) == (2.0, True)
    clock.now += 5.0
    assert watch.look(None) == (7.0, False)


async def test_a_local_job_without_a_port_does_not_stay_about_to_be_connected(tmp_path: Path, clock: Clock) -> None:
    cluster = LocalCluster(make_jobs(tmp_path), b"key", {}, lambda key: None)
    await cluster.observe(KEY)
    clock.now += 60.0
    seen = await cluster.observe(KEY)
    assert seen is not None
    assert (seen.rendezvous_address, seen.connecting, seen.unheard_seconds) == (None, False, 60.0)


async def test_a_job_without_a_service_does_not_stay_about_to_be_connected(clock: Clock) -> None:
    cluster = KubernetesCluster(Scripted(), Settings(), lambda key: None)  # type: ignore[arg-type]
    job = make_job(make_status())
    raw = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["metadata"]["resourceVersion"] = "1"
    cluster.objects.put(raw)
    key = job_key("team", "digits")
    first = await cluster.observe(key)
    clock.now += 60.0
    seen = await cluster.observe(key)
    assert first is not None
    assert seen is not None
    assert (first.connecting, first.unheard_seconds) == (True, 0.0)
    assert (seen.rendezvous_address, seen.connecting, seen.unheard_seconds) == (None, False, 60.0)
