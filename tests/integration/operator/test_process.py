"""The operator as a process: probes, metrics, signals, configuration, its key, and its quiet when nothing happens."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from integration.api_server import ApiServer
from integration.faults import Fault
from integration.operator.builders import JOB, job
from integration.operator.program import NAMESPACE, Operator
from integration.operator.team import Team
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until

KEY = f"/api/v1/namespaces/{NAMESPACE}/secrets"
NAME = "trainingjob-operator-key"


def samples(operator: Operator, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by their labels' values, in the order of the labels' names."""
    found = [sample for family in parse(operator.metrics()) for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


async def running(team: Team) -> None:
    """A job of two workers runs."""
    team.jobs.made(job())
    await until("its pods", team.seen)
    team.kubelet.run_all()
    await until("it runs", lambda: team.status()["phase"] == "Starting")


async def test_metrics(lasting: Operator, team: Team) -> None:
    await running(team)
    assert samples(lasting, "trainingjob_jobs") == {("Starting",): 1.0}
    assert samples(lasting, "trainingjob_workers_wanted") == {(JOB, team.namespace): 2.0}
    requests = samples(lasting, "trainingjob_operator_api_requests_total")
    assert requests["201", "POST", "pods"] >= 3
    assert requests["200", "PATCH", "trainingjobs/status"] >= 1
    assert requests["200", "WATCH", "pods"] >= 1
    assert samples(lasting, "trainingjob_operator_passes_total")[("done",)] >= 1
    assert samples(lasting, "trainingjob_operator_ready") == {(): 1.0}
    assert samples(lasting, "trainingjob_operator_streams") == {(): 1.0}
    assert samples(lasting, "trainingjob_operator_streams_standing") == {(): 0.0}


async def test_nothing_is_written_while_nothing_happens(lasting: Operator, team: Team, api_server: ApiServer) -> None:
    await running(team)

    def passes() -> float:
        return sum(samples(lasting, "trainingjob_operator_passes_total").values())

    async def pass_by(count: int) -> None:
        before = passes()
        await until(f"{count} more passes", lambda: passes() >= before + count)

    await pass_by(3)
    mark = api_server.mark()
    await pass_by(6)
    asked = [event for event in api_server.audit(mark) if event.agent == "trainingjob-operator"]
    assert [event for event in asked if event.verb != "watch" and event.resource != "leases"] == []


async def test_the_secrets_of_other_namespaces_are_never_read(
    operators: Callable[..., Operator], team: Team, api_server: ApiServer
) -> None:
    mark = api_server.mark()
    operator = operators(api_server.kubeconfig())
    operator.start()
    await until("the operator is ready", operator.is_ready)
    await running(team)
    operator.kill()
    operator.start()
    await until("the operator is ready", operator.is_ready)
    team.kubelet.remove(team.name("worker-0-0"))
    await until("another one", lambda: team.is_at([1, 0]))
    asked = [event for event in api_server.audit(mark) if event.agent == "trainingjob-operator" and event.resource == "secrets"]
    assert {event.verb for event in asked if event.namespace != NAMESPACE} == {"create"}
    assert {(event.verb, event.name) for event in asked if event.namespace == NAMESPACE} <= {("get", NAME), ("create", NAME)}


async def test_ready_when_the_caches_are_filled_and_alive_before(operators: Callable[..., Operator], own_proxy: Proxy) -> None:
    held = own_proxy.add(Fault("GET", r"/v1/pods\?limit", times=1000, status=500))
    operator = operators(own_proxy.kubeconfig())
    operator.start()
    await until("the pods cannot be listed", lambda: held.fired >= 2)
    assert operator.is_alive()
    assert operator.readiness() == (503, "the caches are being filled\n")
    own_proxy.clear()
    await until("it is ready", lambda: operator.readiness() == (200, "ok\n"))


async def test_alive_while_the_api_server_is_away_at_the_start(operators: Callable[..., Operator], own_proxy: Proxy) -> None:
    held = own_proxy.add(Fault(times=1000, drops=True))
    operator = operators(own_proxy.kubeconfig())
    operator.start()
    await until("the key cannot be had", lambda: held.fired >= 2)
    assert operator.is_alive()
    assert operator.readiness() == (503, "the operator's key is not there yet\n")
    assert "trainingjob_operator_ready 0.0" in operator.metrics()
    own_proxy.clear()
    await until("it is ready", lambda: operator.readiness() == (200, "ok\n"))


@pytest.mark.parametrize("moment", ["running", "no-key", "filling"])
async def test_ends_at_once_and_in_order_on_sigterm(operators: Callable[..., Operator], own_proxy: Proxy, team: Team, moment: str) -> None:
    operator = operators(own_proxy.kubeconfig())
    if moment == "running":
        operator.start()
        await until("the operator is ready", operator.is_ready)
        await running(team)
    else:
        held = own_proxy.add(Fault(path={"no-key": "/secrets/", "filling": r"/v1/pods\?limit"}[moment], times=1000, status=500))
        operator.start()
        await until("it waits", lambda: held.fired >= 1)
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in operator.log()


async def test_a_wrong_configuration_is_named(operators: Callable[..., Operator], api_server: ApiServer) -> None:
    operator = operators(api_server.kubeconfig(), progresSeconds=3)
    operator.start()
    await until("it has ended", lambda: operator.ended() is not None)
    assert operator.ended() == 64
    assert "config.json: progresSeconds: Extra inputs are not permitted" in operator.log()
    assert "Traceback" not in operator.log()


async def test_two_that_start_at_once_have_one_key(operators: Callable[..., Operator], rest: Rest, own_proxy: Proxy) -> None:
    rest("DELETE", f"{KEY}/{NAME}")
    race = own_proxy.add(Fault("POST", f"{KEY}$", nth=2, delay=0.3))
    pair = [operators(own_proxy.kubeconfig()) for _ in range(2)]
    for operator in pair:
        operator.start()
    for operator in pair:
        await until("the operator is ready", operator.is_ready)
    found = [secret for secret in rest("GET", KEY).body["items"] if secret["metadata"]["name"] == NAME]
    assert [len(base64.b64decode(secret["data"]["key"])) for secret in found] == [32]
    assert found[0]["immutable"]
    assert race.seen <= 2
    assert all(operator.readiness() == (200, "ok\n") for operator in pair)
    for operator in pair:
        operator.kill()  # before what stands between them and the API server


async def test_a_broken_key_is_told(operators: Callable[..., Operator], rest: Rest, api_server: ApiServer) -> None:
    rest("DELETE", f"{KEY}/{NAME}")
    answer = rest("POST", KEY, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "stringData": {"key": "short"}})
    assert answer.ok, answer.message
    operator = operators(api_server.kubeconfig())
    operator.start()
    await until("it has ended", lambda: operator.ended() is not None)
    rest("DELETE", f"{KEY}/{NAME}")
    assert operator.ended() == 64
    assert f"Secret {NAMESPACE}/{NAME}: `key` must hold 32 random bytes; delete the Secret to have it made anew" in operator.log()
    assert "Traceback" not in operator.log()
