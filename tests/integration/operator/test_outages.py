"""The API server takes requests and answers none of them, as behind a network that has swallowed it: the operator's own limits end that."""

from __future__ import annotations

from collections.abc import Callable

from integration.api_server import ApiServer
from integration.faults import Fault
from integration.operator.builders import job
from integration.operator.program import Operator
from integration.operator.team import Team
from integration.proxy import Proxy
from integration.waiting import until

FOREVER = 3600.0
UNANSWERED = 'trainingjob_operator_api_requests_total{code="0",method="POST",resource="pods"}'


async def test_a_silent_api_server_costs_one_worker_what_it_cost_anyway(
    operators: Callable[..., Operator], api_server: ApiServer, team: Team
) -> None:
    async with Proxy(api_server) as own:
        operator = operators(own.kubeconfig())
        operator.start()
        await until("the operator is ready", operator.is_ready)
        team.jobs.made(job())
        await until("its pods", team.seen)
        team.kubelet.run_all()
        await until("it runs", lambda: team.status()["phase"] == "Starting")
        watches = own.watching()
        silent = own.add(Fault(times=10**6, delay=FOREVER))
        team.kubelet.say(team.name("worker-0-0"), "Failed", exit_code=1)
        await until("the loss cannot be written down", lambda: silent.fired >= 1)
        own.cut_watches()
        await until("nor can anything be watched", lambda: silent.fired > watches)
        await until("the wait for an answer is given up", lambda: UNANSWERED in operator.metrics())
        assert operator.readiness() == (200, "ok\n"), "nobody is helped by another life of the operator"
        own.clear()
        await until("another worker", lambda: team.is_at([1, 0]))
        assert team.living() == {"rendezvous-1", "worker-0-1", "worker-1-0"}
        team.kubelet.say(team.name("worker-1-0"), "Failed", exit_code=1)
        await until("the watches are back", lambda: team.is_at([1, 1]))
        assert (team.status()["restarts"], team.status()["attempt"]) == (2, 1)
        assert operator.lives == 1
        assert "the pass failed" not in operator.log()
