"""Two jobs on a cluster with room for one: neither holds for ever what the other needs, though the operator dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from integration.api_server import ApiServer
from integration.operator.builders import job
from integration.operator.program import Operator
from integration.operator.team import Team
from local_job import until

NAMES = ("one", "another")
PLACES = 2


class Room:
    """A scheduler with two places, and kubelets. Where both jobs ask, each gets one."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.half_placed = False

    def look(self, done: Callable[[], Any]) -> Callable[[], Any]:
        """Let a moment pass; then see whether something has come about."""

        def look() -> Any:
            self._rendezvous()
            self._workers()
            return done()

        return look

    def _rendezvous(self) -> None:
        for name, pod in self.team.kubelet.pods("rendezvous").items():
            if pod["status"]["phase"] == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                self.team.kubelet.say(name, "Running", may_be_gone=True)

    def _workers(self) -> None:
        pods = {name: pod for name, pod in self.team.kubelet.pods().items() if "deletionTimestamp" not in pod["metadata"]}
        running = [name for name, pod in pods.items() if pod["status"]["phase"] == "Running"]
        waiting = [name for name, pod in pods.items() if pod["status"]["phase"] == "Pending"]
        by_index = sorted(waiting, key=lambda name: (name.split("-worker-")[1], name))
        for name in by_index[: max(0, PLACES - len(running))]:
            self.team.kubelet.say(name, "Running", may_be_gone=True)
            running.append(name)
        for own in NAMES:
            mine = [name for name in running if name.startswith(f"{own}-")]
            if len(mine) == PLACES or (mine and self.team.stops(own)):
                for name in mine:
                    self.team.kubelet.say(
                        name, "Succeeded", may_be_gone=True, words='{"code": 0, "done": %s}' % ("false" if self.team.stops(own) else "true")
                    )
            self.half_placed |= len(mine) == 1 and len(running) == PLACES


def make(team: Team, name: str) -> None:
    manifest = job(name, replicas=2, minReplicas=2)
    manifest["spec"]["recovery"] = {"startupTimeoutSeconds": 3}
    team.jobs.made(manifest)


def test_both_are_trained_though_each_held_half(operators: Callable[..., Operator], api_server: ApiServer, team: Team) -> None:
    operator = operators(api_server.kubeconfig())
    operator.start()
    operator.ready()
    room = Room(team)
    for name in NAMES:
        make(team, name)
    for name in NAMES:
        until("all its pods wait for a place", lambda name=name: team.seen(name))
    until("one of them is to give its pods back", room.look(lambda: any(team.stops(name) for name in NAMES)))
    operator.kill()
    assert room.half_placed
    operator.start()
    until("one has", room.look(lambda: any("retryTime" in team.status(name).get("placement", {}) for name in NAMES)))
    operator.kill()
    operator.start()
    until("both are done", room.look(lambda: all(team.holds("Complete", name) for name in NAMES)), seconds=90.0)
    for name in NAMES:
        status = team.status(name)
        assert status.get("restarts", 0) == 0, "a pod that is given back is no failure"
        assert "placement" not in status
