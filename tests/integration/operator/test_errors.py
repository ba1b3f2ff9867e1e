"""The API server refuses, or its answer is lost, at every kind of write: the job has the same children in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integration.faults import Fault
from integration.operator.builders import job
from integration.operator.program import Operator
from integration.operator.team import OBJECTS, Team
from integration.proxy import Proxy
from integration.rest import Rest
from integration.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWERS: dict[str, dict[str, Any]] = {
    "409": {"status": 409},
    "429": {"status": 429, "retry_after": 1},
    "500": {"status": 500},
    "504": {"status": 504},
    "dropped": {"drops": True},
}


@dataclass(frozen=True)
class Write:
    """One kind of write."""

    method: str
    path: str
    """After the namespace."""
    nth: int = 1


WRITES = {
    "first-status": Write("PATCH", "/trainingjobs/digits/status"),
    "later-status": Write("PATCH", "/trainingjobs/digits/status", nth=2),
    "revision": Write("POST", "/controllerrevisions"),
    "secret": Write("POST", "/secrets"),
    "network-policy": Write("PATCH", "/networkpolicies/"),
    "service": Write("PATCH", "/services/"),
    "rendezvous": Write("POST", "/pods"),
    "worker": Write("POST", "/pods", nth=2),
    "other-worker": Write("POST", "/pods", nth=3),
    "event": Write("POST", "/events"),
    "deletion": Write("DELETE", "/pods/"),
}


class Story:
    """In a namespace of its own, so that a fault can be aimed at it: a job starts, and where pods are to be deleted, is made smaller."""

    def __init__(self, rest: Rest, kind: str) -> None:
        self.team = Team.fresh(rest)
        self.shrinks = kind == "deletion"
        self.uid = ""

    def create(self) -> None:
        self.uid = self.team.jobs.made(job())["metadata"]["uid"]

    def shrink(self) -> None:
        if self.shrinks:
            self.team.kubelet.run_all()
            self.team.spec(workers={"replicas": 1})

    def is_over(self) -> bool:
        if not self.shrinks:
            return True
        self.team.kubelet.collect()
        return self.team.status()["wantedWorkers"] == 1 and "worker-1-0" not in self.team.pods()

    def check(self) -> None:
        """Nothing is there twice, and nothing was counted against the job."""
        ends = {"rendezvous-1", "worker-0-0"} if self.shrinks else {"rendezvous-1", "worker-0-0", "worker-1-0"}
        assert self.team.living() == ends
        assert self.team.owners() == {"Pod": [self.uid] * len(ends)} | {kind: [self.uid] for kind in OBJECTS}
        status = self.team.status()
        assert status["rendezvous"] == {"epoch": 1, "seen": True}
        assert (status["attempt"], status.get("restarts", 0), status.get("failures", 0)) == (1, 0, 0)
        assert len(self.team.events()) == len({event["message"] for event in self.team.events()})


@pytest.fixture(autouse=True)
def no_faults_left(proxy: Proxy) -> Iterator[None]:
    """What a failed test has set up does not befall the next one."""
    yield
    proxy.clear()


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_every_kind_of_write_fails_once(proxied: Operator, proxy: Proxy, rest: Rest, answer: str, afterwards: bool) -> None:
    stories = {kind: Story(rest, kind) for kind in WRITES}
    faults = {}
    for kind, write in WRITES.items():
        path = f"/namespaces/{stories[kind].team.namespace}{write.path}"
        faults[kind] = proxy.add(Fault(write.method, path, nth=write.nth, afterwards=afterwards, **ANSWERS[answer]))
        stories[kind].create()
    for kind, story in stories.items():
        await until(f"all of the job with a fault at its {kind}", story.team.seen)
        story.shrink()
    for kind, story in stories.items():
        await until(f"a smaller job with a fault at its {kind}", story.is_over)
        story.check()
    await until("every fault fired", lambda: {fault.fired for fault in faults.values()} == {1})  # the last one after its effect
    if answer == "429":
        assert "again in 1.0 s: 429" in proxied.log()
    assert proxied.is_ready()
