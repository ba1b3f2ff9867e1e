"""Watches of an operator that nobody helps: no ghost stays, and nothing that was missed stays unseen."""

from __future__ import annotations

from collections.abc import Callable

from integration.faults import Fault
from integration.operator.builders import JOB, job
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.operator.test_watches import WATCHED_JOBS, WATCHES, running
from integration.proxy import Proxy
from integration.waiting import until


async def test_no_ghost_of_a_job_whose_deletion_was_missed(operators: Callable[..., Operator], own_proxy: Proxy, team: Team) -> None:
    """kopf does not tell of it; the comparison from time to time does."""
    operator = operators(own_proxy.kubeconfig(), resyncSeconds=0.5)
    operator.start()
    await until("the operator is ready", operator.is_ready)
    await running(team, own_proxy)
    held = own_proxy.add(Fault("GET", WATCHED_JOBS, times=1000, status=500))
    own_proxy.cut_watches()
    await until("the watch fails", lambda: held.fired >= 1)
    team.delete()
    await until("it is forgotten", lambda: operator.metric('trainingjob_jobs{phase="Starting"}') is None)
    assert "Traceback" not in operator.log()


async def test_history_is_forgotten_while_jobs_and_pods_are_deleted(
    operators: Callable[..., Operator], own_proxy: Proxy, team: Team
) -> None:
    """One job is gone, one is another of the same name, one has lost a worker: all of it between a watch that broke and its 410."""
    operator = operators(own_proxy.kubeconfig(), resyncSeconds=0.5)
    operator.start()
    await until("the operator is ready", operator.is_ready)
    for name in (JOB, "gone", "again"):
        await running(team, own_proxy, name)
    watches = own_proxy.watching()
    held = own_proxy.add(Fault("GET", r"watch=true", times=1000, status=500))
    own_proxy.cut_watches()
    await until("no watch is open", lambda: held.fired >= watches and not own_proxy.watching())
    for name in ("gone", "again"):
        team.delete(name)
    again = team.jobs.made(job("again"))["metadata"]["uid"]
    ghosts = {name: pod["metadata"]["uid"] for name, pod in team.kubelet.pods().items() if not name.startswith(f"{JOB}-")}
    assert len(ghosts) == 4
    for name in ghosts:
        team.kubelet.remove(name)
    team.kubelet.remove(next(name for name in team.kubelet.pods() if name.endswith("worker-1-0")))
    held.status, held.expires, before = None, True, held.fired
    await until("each watch is told so", lambda: held.fired >= before + watches)
    own_proxy.clear()
    await until("the lost worker is replaced", lambda: team.is_at([0, 1]))
    await until("the new job's pods", lambda: team.seen("again"))
    await until("the gone one is forgotten", lambda: 'name="gone"' not in operator.metrics())
    living = {team.jobs.get(name)["metadata"]["uid"] for name in (JOB, "again")}
    for name, pod in team.kubelet.pods().items():  # what was made for a job that is no more goes at once, as its owner is gone
        if pod["metadata"]["ownerReferences"][0]["uid"] not in living:
            team.kubelet.remove(name)
    owners = [pod["metadata"]["ownerReferences"][0] for pod in team.kubelet.pods().values()]
    assert sorted(owner["name"] for owner in owners) == ["again", "again", JOB, JOB], "none twice"
    assert {owner["uid"] for owner in owners if owner["name"] == "again"} == {again}
    assert team.status("again")["workers"] == [0, 0], "it is another job"
    assert "Traceback" not in operator.log()


async def test_no_trainingjobs_are_served_for_a_while(operators: Callable[..., Operator], own_proxy: Proxy, team: Team) -> None:
    """As when an API server has just begun, or the definition is taken out: who runs waits, and so does who is started."""
    operator = operators(own_proxy.kubeconfig())
    operator.start()
    await until("the operator is ready", operator.is_ready)
    held = own_proxy.add(Fault("GET", r"/trainingjobs\?", times=1000, status=404))
    own_proxy.cut_watches()
    await until("it asks again and again", lambda: held.fired >= 3)
    assert operator.is_ready()
    own_proxy.clear()
    team.jobs.made(job())
    await until("the job's pods", team.seen)
    own_proxy.add(held)
    operator.kill()
    operator.start()
    before = held.fired
    await until("it looks again and again", lambda: held.fired >= before + 2)
    assert operator.is_alive()
    assert not operator.is_ready()
    own_proxy.clear()
    await until("the operator is ready", operator.is_ready)
    team.jobs.made(job("another"))
    await until("the other job's pods", lambda: team.seen("another"))


async def test_a_job_that_the_deaf_watch_of_jobs_does_not_tell_of(operators: Callable[..., Operator], own_proxy: Proxy, team: Team) -> None:
    operator = operators(own_proxy.kubeconfig(), resyncSeconds=1)
    operator.start()
    await until("the operator is ready", operator.is_ready)
    await until("all watches are open", lambda: own_proxy.watching() >= WATCHES)
    deaf = own_proxy.add(Fault("GET", r"/trainingjobs\?watch", times=1000, delay=200.0))
    own_proxy.cut_watches()
    await until("the watch is opened again, and silent", lambda: deaf.fired)
    team.jobs.made(job())
    await until("it says so", lambda: operator.readiness() == (503, "a watch is deaf\n"))  # until the next look, which finds nothing
    await until("the job's pods", team.seen)
    team.spec(workers={"replicas": 1})
    await until("what was changed is seen too", lambda: "worker-1-0" not in team.living())
    assert "the watch of the trainingjobs is deaf: it has not told of 1 of" in operator.log()
