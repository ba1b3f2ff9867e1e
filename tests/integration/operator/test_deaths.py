"""The operator is killed at each of its writes, before the API server gets it and after: the next one brings all to the same end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.faults import Asked, Fault
from integration.jobs import Jobs
from integration.operator.builders import condition, job
from integration.operator.program import Kubelet, Operator
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until

WRITES = "POST|PATCH|DELETE"


class Story:
    """A job is created, runs, loses a worker, gets it back, and is suspended."""

    def __init__(self, name: str, rest: Rest, namespace: str) -> None:
        self.name = name
        self.jobs = Jobs(rest, namespace)
        self.kubelet = Kubelet(rest, namespace)
        self.numbers: tuple[int, list[int]] = (0, [])

    async def run(self) -> dict[str, Any]:
        """All of it; what there is at the end."""
        self.jobs.made(job(self.name, replicas=2))
        await until("its pods", lambda: len(self._pods()) >= 3)
        await until("they have been seen", lambda: self._start() or self._are_seen())
        lost = self._worker_1()
        self.kubelet.say(lost, "Failed", exit_code=1)
        await until("another one", lambda: self._worker_1() != lost)
        self._start()
        await until("it has been seen", lambda: not self._unseen() and lost not in self._left())
        self.jobs.patch(self.name, {"spec": {"suspend": True}})
        await until("the stop is asked for", lambda: self._status().get("stop"))
        for name in self._pods():
            if "-worker-" in name:
                self.kubelet.say(name, "Succeeded", words='{"code": 0, "suspended_at_step": 7}')
        await until("it is suspended", lambda: condition(self._status(), "Suspended") == "True" and not self._left())
        return self._end()

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.jobs.get(self.name).get("status", {})
        return found

    def _are_seen(self) -> bool:
        return bool(self._status().get("rendezvous", {}).get("seen")) and not self._unseen() and len(self._left()) == 3

    def _worker_1(self) -> str:
        """The newest pod of worker 1."""
        return max((name for name in self._pods() if "-worker-1-" in name), key=lambda name: int(name.rpartition("-")[2]))

    def _unseen(self) -> str:
        return str(self._status().get("unseen", "-"))

    def _pods(self) -> dict[str, Any]:
        found = self.kubelet.pods() | self.kubelet.pods("rendezvous")
        return {name: pod for name, pod in found.items() if name.startswith(f"{self.name}-")}

    def _left(self) -> dict[str, Any]:
        """Its pods. A deletion whose request was cut off half way is ended by the collector."""
        self.kubelet.collect()
        return self._pods()

    def _start(self) -> None:
        for name, pod in self._pods().items():
            if pod["status"]["phase"] == "Pending":
                self.kubelet.say(name, "Running")

    def _end(self) -> dict[str, Any]:
        """What may not depend on the operator's deaths. A number may be left out, never taken twice."""
        status = self._status()
        self.numbers = (status["rendezvous"]["epoch"], status["workers"])
        assert status["rendezvous"]["epoch"] <= 2
        assert all(incarnation <= limit for incarnation, limit in zip(status["workers"], (1, 3), strict=True))
        return {field: status.get(field) for field in ("attempt", "restarts", "failures", "phase")}


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
async def test_killed_at_every_write(
    api_server: ApiServer, operators: Callable[..., Operator], rest: Rest, namespace: str, afterwards: bool
) -> None:
    async with Proxy(api_server) as proxy:
        operator = operators(proxy.kubeconfig())
        operator.start()
        await until("the operator is ready", operator.is_ready)
        quiet = Story("undisturbed", rest, namespace)
        undisturbed = await quiet.run()
        assert quiet.numbers == (1, [0, 1])
        number, killed = 1, True
        while killed:
            fault = proxy.add(Fault(WRITES, f"/namespaces/{namespace}/", nth=number, afterwards=afterwards, call=_killer(operator)))
            print(f"killed at write {number}")
            assert await Story(f"killed-{number}", rest, namespace).run() == undisturbed
            killed, number = fault.fired > 0, number + 1
            proxy.clear()
        assert number > 15, "a story has more writes than that"
        assert operator.lives == number - 1


def _killer(operator: Operator) -> Callable[[Asked], Any]:
    async def kill(_: Asked) -> None:
        operator.kill()
        operator.start()

    return kill
