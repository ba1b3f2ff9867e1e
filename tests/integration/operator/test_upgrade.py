"""Operators of two versions take turns: no pod is touched, pods are made as the job's first ones were, and a newer status is left whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.installation import DEFINITIONS
from integration.operator.builders import JOB, condition, job
from integration.operator.program import Operator
from integration.operator.team import OBJECTS, Team
from integration.rest import Rest
from integration.waiting import until
from operator_made import common
from trainingjob_operator.controllers.training_job.children import revision

ONE: dict[str, Any] = {"defaultImage": "trainer:1", "rendezvousImage": "operator:1"}
OTHER: dict[str, Any] = {
    "defaultImage": "trainer:2",
    "rendezvousImage": "operator:2",
    "terminationGraceSeconds": 7,
    "interface": "eth7",
    "rendezvousPort": 7000,
    "rendezvousRequests": {"cpu": "1"},
    "rendezvousLimits": {"memory": "1Gi"},
}
TEMPLATE = {
    "metadata": {"labels": {"team": "vision"}, "annotations": {"note": "a < b && c > d, \N{GREEK SMALL LETTER ALPHA}"}},
    "env": [{"name": "TEXT", "value": "<&>\u2028\n"}],
    "resources": {"requests": {"cpu": 1, "memory": "64Mi"}},
}


async def running(team: Team, **workers: Any) -> None:
    """A job of two workers runs, and the operator knows it."""
    team.jobs.made(job(**workers))
    await until("its pods", team.seen)
    team.kubelet.run_all()
    await until("it starts", lambda: team.status()["phase"] == "Starting")


async def passes(operator: Operator) -> None:
    """The operator has looked at all jobs."""
    await until("a pass", lambda: 'trainingjob_operator_passes_total{result="done"}' in operator.metrics())


async def replaced(team: Team, lost: str, successor: str) -> dict[str, Any]:
    """A pod is gone; the one that is made instead."""
    team.kubelet.remove(team.name(lost))
    await until(f"{successor} is made", lambda: successor in team.pods())
    await until("it is known", lambda: team.seen())
    team.kubelet.say(team.name(successor), "Running")
    return team.pods()[successor]


def image(pod: dict[str, Any]) -> str:
    found: str = pod["spec"]["containers"][0]["image"]
    return found


async def test_an_upgrade_and_a_rollback_touch_no_pod_and_replacements_are_made_as_the_first_ones_were(
    operators: Callable[..., Operator], api_server: ApiServer, team: Team
) -> None:
    one, other = operators(api_server.kubeconfig(), **ONE), operators(api_server.kubeconfig(), **OTHER)
    one.start()
    one.ready()
    await running(team, template=TEMPLATE)
    first, status = team.pods(), team.status()
    for number, operator, before in ((1, other, one), (2, one, other)):
        mark, seen = api_server.mark(), team.pods()
        assert before.stop() == 0
        operator.start()
        operator.ready()
        await passes(operator)
        assert team.pods() == seen
        touched = [event for event in api_server.audit(mark) if event.resource == "pods" and event.verb in ("create", "delete", "patch")]
        assert [event for event in touched if event.namespace == team.namespace] == []

        worker = await replaced(team, f"worker-1-{number - 1}", f"worker-1-{number}")
        rendezvous = await replaced(team, f"rendezvous-{number}", f"rendezvous-{number + 1}")
        assert common(worker) == common(first["worker-1-0"])
        assert common(rendezvous) == common(first["rendezvous-1"])
    assert (image(worker), image(rendezvous)) == ("trainer:1", "operator:1")
    assert [status[name] for name in ("image", "build", "revision")] == [team.status()[name] for name in ("image", "build", "revision")]


async def test_another_life_is_made_from_what_the_present_operator_has(
    operators: Callable[..., Operator], api_server: ApiServer, team: Team, rest: Rest
) -> None:
    one, other = operators(api_server.kubeconfig(), **ONE), operators(api_server.kubeconfig(), **OTHER)
    one.start()
    one.ready()
    await running(team)
    assert one.stop() == 0
    other.start()
    other.ready()
    team.spec(suspend=True)
    await until("the stop is asked for", team.stops)
    for name in team.kubelet.pods():
        team.kubelet.say(name, "Succeeded", words='{"code": 0, "suspended_at_step": 7}')
    await until("it is suspended", lambda: team.holds("Suspended"))
    team.spec(suspend=False)
    await until("it goes on", lambda: {"rendezvous-2", "worker-0-1", "worker-1-1"} <= team.living())
    pods = team.pods()
    assert (image(pods["worker-0-1"]), image(pods["rendezvous-2"])) == ("trainer:1", "operator:2")
    assert pods["worker-0-1"]["spec"]["terminationGracePeriodSeconds"] == 7
    kept = rest("GET", OBJECTS["ControllerRevision"].format(team.namespace)).body["items"]
    assert len(kept) == 2
    assert all(revision.read(found) is not None for found in kept)


@pytest.fixture
def newer_definition(rest: Rest, definition: dict[str, Any]) -> Iterator[None]:
    """The definition as a newer version has it: more fields in the status, more conditions."""
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    before = rest("GET", path).body
    newer = rest("GET", path).body
    status = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    status["balance"] = {"type": "string"}
    status["rendezvous"]["properties"]["region"] = {"type": "string"}
    status["conditions"]["maxItems"] = 20
    assert rest("PUT", path, newer).ok
    yield
    body = rest("GET", path).body
    body["spec"] = before["spec"]
    assert rest("PUT", path, body).ok


NEWER = {"phase": "Balancing", "balance": "even", "rendezvous": {"region": "north"}}
BALANCED = {"type": "Balanced", "status": "True", "reason": "EvenShares", "message": "every worker does the same", "observedGeneration": 1}


async def test_the_status_of_a_newer_operator_stops_nothing_and_is_not_erased(
    operator: Operator, team: Team, newer_definition: None
) -> None:
    await running(team)

    def written() -> bool:
        conditions = [BALANCED, *(found for found in team.status()["conditions"] if found["type"] != "Balanced")]
        answer = team.jobs.patch_status(JOB, {"status": NEWER | {"conditions": conditions}})
        return answer.ok and answer.body["status"].get("balance") == "even" and answer.body["status"]["rendezvous"].get("region") == "north"

    await until("the API server knows the newer definition", written)
    await replaced(team, "worker-1-0", "worker-1-1")
    await replaced(team, "rendezvous-1", "rendezvous-2")
    await until("the phase is told anew", lambda: team.status()["phase"] != "Balancing")
    status = team.status()
    assert (status["balance"], status["rendezvous"]["region"], status["rendezvous"]["epoch"]) == ("even", "north", 2)
    (kept,) = (found for found in status["conditions"] if found["type"] == "Balanced")
    assert {name: kept[name] for name in BALANCED} == BALANCED
    assert condition(status, "Valid") == "True"
    assert "the pass failed" not in operator.log()


async def test_an_end_that_a_newer_operator_told_in_its_own_words_stays_an_end(operator: Operator, team: Team) -> None:
    await running(team)
    ended = {"type": "Complete", "status": "True", "reason": "Converged", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert team.jobs.patch_status(JOB, {"status": {"conditions": [ended], "completionTime": "2026-01-01T00:00:00Z"}}).ok
    await until("its workers are let go", lambda: team.living() == set())
    assert (team.status()["attempt"], team.status()["phase"]) == (1, "Succeeded")
