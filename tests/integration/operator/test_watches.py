"""Watches break while something happens, forget their place in history, and lose the API server: nothing is missed for good."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from integration.api_server import ApiServer
from integration.faults import Fault
from integration.operator.builders import JOB, job
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.proxy import Proxy
from integration.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCHES = 6
"""TrainingJobs, pods, nodes, Services, network policies, revisions; at least."""
WATCHED_JOBS = r"/trainingjobs\?.*watch=true"
WATCHED_PODS = r"/v1/pods\?.*watch=true"


@pytest.fixture(autouse=True)
def no_faults_left(proxy: Proxy) -> Iterator[None]:
    """What a failed test has set up does not befall the next one."""
    yield
    proxy.clear()


async def running(team: Team, proxy: Proxy, name: str = JOB) -> None:
    """A job of two workers runs, and all watches are open."""
    team.jobs.made(job(name))
    await until("its pods", lambda: team.seen(name))
    team.kubelet.run_all()
    await until("it runs", lambda: team.status(name)["phase"] == "Starting")
    await until("all watches are open", lambda: proxy.watching() >= WATCHES)


async def test_all_are_cut_at_once_and_again_and_again(proxied: Operator, proxy: Proxy, team: Team) -> None:
    await running(team, proxy)
    for incarnation in range(8):
        assert proxy.cut_watches() >= WATCHES
        team.kubelet.say(team.name(f"worker-0-{incarnation}"), "Failed", exit_code=42, reason="Evicted")
        await until("another one", partial(team.is_at, [incarnation + 1, 0]), seconds=15.0)
        await until("all watches are open", lambda: proxy.watching() >= WATCHES, seconds=15.0)
    assert team.living() == {"rendezvous-1", "worker-0-8", "worker-1-0"}


async def test_cut_while_a_job_is_created_and_another_is_deleted(proxied: Operator, proxy: Proxy, team: Team) -> None:
    await running(team, proxy)
    held = proxy.add(Fault("GET", WATCHED_JOBS, times=1000, status=500))
    assert proxy.cut_watches() >= WATCHES
    team.jobs.made(job("later"))
    team.delete()
    await until("the watch fails", lambda: held.fired >= 1)
    proxy.clear()
    await until("the new job's pods", lambda: team.seen("later"))
    for end in ("worker-0-0", "worker-1-0"):
        team.kubelet.remove(next(name for name in team.kubelet.pods() if name.startswith(f"{JOB}-") and name.endswith(end)))
    await until("a job that is gone gets no other pods", lambda: proxied.metric('trainingjob_jobs{phase="Pending"}') == 1.0)
    assert not [name for name in team.kubelet.pods() if name.startswith(f"{JOB}-")]


async def test_a_deletion_missed_for_ever_is_noticed_at_the_next_list(proxied: Operator, proxy: Proxy, team: Team) -> None:
    await running(team, proxy)
    before = proxy.count("GET", r"/v1/pods\?limit")
    held = proxy.add(Fault("GET", WATCHED_PODS, times=1000, status=410))
    assert proxy.cut_watches() >= WATCHES
    await until("the watch fails", lambda: held.fired >= 1)
    team.kubelet.remove(team.name("worker-1-0"))
    proxy.clear()
    await until("the lost worker is replaced", lambda: "worker-1-1" in team.living())
    assert proxy.count("GET", r"/v1/pods\?limit") > before
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-1"}


async def test_told_in_the_stream_that_history_is_forgotten(proxied: Operator, proxy: Proxy, team: Team) -> None:
    await running(team, proxy)
    before = proxy.count("GET", r"/v1/pods\?limit")
    assert proxy.expire_watches() >= WATCHES
    team.kubelet.remove(team.name("worker-0-0"))
    await until("the lost worker is replaced", lambda: "worker-0-1" in team.living())
    await until("all watches are open", lambda: proxy.watching() >= WATCHES)
    assert proxy.count("GET", r"/v1/pods\?limit") > before
    await until("its pod is known", lambda: team.is_at([1, 0]))
    assert team.status()["restarts"] == 1


@pytest.mark.parametrize("status", [401, 403, 429, 500, 504])
async def test_the_jobs_watch_is_refused_for_a_while(proxied: Operator, proxy: Proxy, team: Team, status: int) -> None:
    await until("all watches are open", lambda: proxy.watching() >= WATCHES)
    held = proxy.add(Fault("GET", r"/trainingjobs\?", times=1000, status=status))
    assert proxy.cut_watches() >= WATCHES
    await until("it is refused twice", lambda: held.fired >= 2)
    team.jobs.made(job())
    proxy.clear()
    await until("the job's pods", team.seen)


async def test_the_api_server_is_started_anew(proxied: Operator, proxy: Proxy, team: Team, api_server: ApiServer) -> None:
    await running(team, proxy)
    asked = len(proxy.requests)
    api_server.restart()
    team.kubelet.say(team.name("worker-0-0"), "Failed", exit_code=1)
    await until("another one", lambda: "worker-0-1" in team.living())
    team.jobs.made(job("later"))
    await until("the new job's pods", lambda: team.seen("later"))
    assert len(proxy.requests) > asked


async def test_the_api_server_is_away_for_long(proxied: Operator, proxy: Proxy, team: Team, api_server: ApiServer) -> None:
    await running(team, proxy)
    api_server.stop()
    asked = proxy.count("GET", r"/trainingjobs\?")
    try:
        # kopf's pauses grow: by then, some 20 seconds have passed
        await until("asked seven times in vain", lambda: proxy.count("GET", r"/trainingjobs\?") >= asked + 7)
        assert proxied.readiness()[0] == 200, "nobody is helped by another life of the operator"
    finally:
        api_server.start()
    team.kubelet.say(team.name("worker-0-0"), "Failed", exit_code=1)
    team.jobs.made(job("later"))
    await until("another worker", lambda: "worker-0-1" in team.living(), seconds=30.0)
    await until("the new job's pods", lambda: team.seen("later"), seconds=30.0)
