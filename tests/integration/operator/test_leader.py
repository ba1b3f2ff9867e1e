"""Several operators: one acts, the others are ready to. No two ever act at once, and no worker is made twice."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable

import pytest

from integration.api_server import ApiServer
from integration.audit import AuditEvent
from integration.faults import Fault
from integration.operator.builders import job
from integration.operator.program import NAMESPACE, Operator
from integration.operator.team import Team
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until

LEASE_SECONDS = 3.0
READS = {"get", "list", "watch"}

Make = Callable[..., Operator]


@pytest.fixture
def lease() -> str:
    return f"shared-{secrets.token_hex(3)}"


@pytest.fixture
async def pair(operators: Make, api_server: ApiServer, lease: str) -> tuple[Operator, Operator]:
    """One that leads, and its standby, which is ready."""
    leader, standby = (operators(api_server.kubeconfig(), lease=lease, leaseSeconds=LEASE_SECONDS) for _ in range(2))
    leader.start()
    await until("the first is ready", leader.is_ready)
    await until("the first leads", leader.leads)
    standby.start()
    await until("the second is ready", standby.is_ready)
    return leader, standby


def holder(rest: Rest, lease: str) -> str:
    """The pod that holds the lease; "" if none does."""
    found = rest("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{lease}").body
    return str(found["spec"]["holderIdentity"].rpartition("_")[0])


def workers(events: list[AuditEvent], namespace: str) -> list[str]:
    """The names of the worker pods that somebody has made."""
    made = [each for each in events if (each.verb, each.resource, each.namespace, each.code) == ("create", "pods", namespace, 201)]
    return [each.name for each in made if "-worker-" in each.name]


async def runs(team: Team, **changes: object) -> None:
    """A job of two workers has its pods, and they run."""
    team.jobs.made(job(**changes))
    await until("its pods", team.seen)
    team.kubelet.run_all()
    await until("it runs", lambda: team.status()["phase"] == "Starting")


async def replaces(team: Team, end: str, successor: str) -> None:
    """A worker whose pod is gone gets another one."""
    team.kubelet.remove(team.name(end))
    await until(f"{successor} is made", lambda: successor in team.living())
    team.kubelet.run_all()


async def test_a_standby_is_ready_and_does_nothing(pair: tuple[Operator, Operator], team: Team, rest: Rest, lease: str) -> None:
    leader, standby = pair
    await runs(team)
    assert holder(rest, lease) == leader.pod
    assert not standby.leads()
    assert "trainingjob_operator_passes_total" not in [line.split("{")[0] for line in standby.metrics().splitlines()]
    assert "trainingjob_jobs" in leader.metrics()
    assert "trainingjob_jobs" not in standby.metrics()  # else a sum over both would count every job twice


async def test_a_leader_that_leaves_in_order_hands_over_within_a_second(
    pair: tuple[Operator, Operator], team: Team, api_server: ApiServer
) -> None:
    leader, standby = pair
    await runs(team)
    mark = api_server.mark()
    began = time.monotonic()
    os.kill(leader.pid, signal.SIGTERM)
    await until("the standby leads", standby.leads)
    assert time.monotonic() - began < LEASE_SECONDS / 3  # far from waiting for the lease to run out
    assert leader.stop() == 0
    await replaces(team, "worker-0-0", "worker-0-1")
    assert team.living() == {"rendezvous-1", "worker-0-1", "worker-1-0"}
    assert len(workers(api_server.audit(mark), team.namespace)) == 1


async def test_a_leader_is_killed_and_its_standby_goes_on(
    pair: tuple[Operator, Operator], team: Team, rest: Rest, lease: str, api_server: ApiServer
) -> None:
    leader, standby = pair
    await runs(team)
    mark = api_server.mark()
    leader.kill()
    team.kubelet.remove(team.name("worker-1-0"))
    await until("another worker", lambda: "worker-1-2" in team.living())  # the old leader might have made worker-1-1
    assert holder(rest, lease) == standby.pod
    assert team.living() == {"rendezvous-1", "worker-0-0", "worker-1-2"}
    assert len(workers(api_server.audit(mark), team.namespace)) == 1

    leader.start()  # the container is started again, in the same pod
    await until("it is ready", leader.is_ready)
    assert not leader.leads()


async def test_a_leader_whose_container_is_started_again_does_not_wait_for_its_own_lease(
    operators: Make, api_server: ApiServer, lease: str, rest: Rest
) -> None:
    alone = operators(api_server.kubeconfig(), lease=lease, leaseSeconds=300)
    alone.start()
    await until("it leads", lambda: alone.is_ready() and alone.leads())
    alone.kill()
    assert holder(rest, lease) == alone.pod  # it did not leave in order
    alone.start()
    await until("it leads again", lambda: alone.is_ready() and alone.leads())


async def test_a_leader_stopped_past_its_lease_does_nothing_more_and_ends(
    pair: tuple[Operator, Operator], team: Team, rest: Rest, lease: str, api_server: ApiServer, operators: Make
) -> None:
    leader, standby = pair
    await runs(team)
    os.kill(leader.pid, signal.SIGSTOP)
    mark = api_server.mark()
    team.kubelet.remove(team.name("worker-0-0"))  # the old leader has the news before it may read it
    await until("the standby has replaced it", lambda: "worker-0-2" in team.living())
    assert holder(rest, lease) == standby.pod
    team.kubelet.run_all()
    after = api_server.mark()
    os.kill(leader.pid, signal.SIGCONT)
    await until("the old leader has ended", lambda: leader.ended() == 1)
    assert "holds the lease" in leader.log()
    assert "this operator ends" in leader.log()
    assert "Traceback" not in leader.log()
    assert len(workers(api_server.audit(mark), team.namespace)) == 1
    # All that was asked for after it went on: the new leader's renewals and its own one try, which was refused.
    writes = [each for each in api_server.audit(after) if each.verb not in READS and each.agent == "trainingjob-operator"]
    assert {each.resource for each in writes} <= {"leases", "trainingjobs/status"}
    assert [each for each in writes if each.resource == "leases" and each.code == 409]
    await replaces(team, "worker-1-0", "worker-1-1")
    assert team.living() == {"rendezvous-1", "worker-0-2", "worker-1-1"}


async def test_a_leader_stopped_between_two_writes_makes_nothing_twice(
    operators: Make, own_proxy: Proxy, api_server: ApiServer, team: Team, lease: str
) -> None:
    """It is held up with its pods half made; the standby begins above them, and the old one's next write never comes."""
    leader = operators(own_proxy.kubeconfig(), lease=lease, leaseSeconds=LEASE_SECONDS)
    standby = operators(api_server.kubeconfig(), lease=lease, leaseSeconds=LEASE_SECONDS)
    leader.start()
    await until("the first leads", lambda: leader.is_ready() and leader.leads())
    standby.start()
    await until("the second is ready", standby.is_ready)

    async def stop(_: object) -> None:
        os.kill(leader.pid, signal.SIGSTOP)

    fault = own_proxy.add(Fault("POST", "/pods", nth=2, afterwards=True, call=stop))
    mark = api_server.mark()
    team.jobs.made(job())
    await until("the leader is stopped", lambda: fault.fired == 1)
    wanted = {"rendezvous-2", "worker-0-1", "worker-1-1"}
    await until("the standby has made its own", lambda: standby.leads() and wanted <= team.living() and team.seen())
    os.kill(leader.pid, signal.SIGCONT)
    await until("the old leader has ended", lambda: leader.ended() == 1)
    await until("the others go", lambda: team.living() == wanted)
    made = workers(api_server.audit(mark), team.namespace)
    assert sorted(made) == sorted(set(made))
    assert len(made) == 3


async def test_an_api_server_that_is_away_for_longer_than_the_lease_makes_nobody_restart(
    operators: Make, own_proxy: Proxy, api_server: ApiServer, team: Team, lease: str, rest: Rest
) -> None:
    """Neither the one that leads nor its standby: who led goes on."""
    pair = [operators(own_proxy.kubeconfig(), lease=lease, leaseSeconds=LEASE_SECONDS) for _ in range(2)]
    for each in pair:
        each.start()
        await until("it is ready", each.is_ready)
    await runs(team)
    before = {name: pod["metadata"]["uid"] for name, pod in team.pods().items()}
    away = own_proxy.add(Fault(drops=True, times=1_000_000))
    own_proxy.cut_watches()
    await until("nobody is sure of the lease", lambda: not any(each.leads() for each in pair), 4 * LEASE_SECONDS)
    began = time.monotonic()
    await until("it stays away", lambda: time.monotonic() > began + 2 * LEASE_SECONDS)
    assert away.fired > 0
    own_proxy.clear()
    await until("one acts again", lambda: any(each.leads() for each in pair))
    await replaces(team, "worker-0-0", "worker-0-1")
    assert [each.ended() for each in pair] == [None, None]
    after = {name: pod["metadata"]["uid"] for name, pod in team.pods().items() if name in team.living()}
    assert {name for name in after if before.get(name) == after[name]} == {"rendezvous-1", "worker-1-0"}


async def test_a_lease_that_somebody_deletes_is_made_anew_by_who_held_it(
    pair: tuple[Operator, Operator], team: Team, rest: Rest, lease: str
) -> None:
    await runs(team)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{lease}"
    assert rest("DELETE", path).ok
    await until("somebody holds it", lambda: rest("GET", path).ok)
    leader, standby = pair
    assert holder(rest, lease) == leader.pod
    await replaces(team, "worker-0-0", "worker-0-1")
    assert (leader.leads(), standby.leads()) == (True, False)
