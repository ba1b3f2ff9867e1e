"""The rendezvous of all TrainingJobs that there are, started as a process beside the operator. Effects."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import urlopen

from bench.scale.operators import SYSTEM
from bench.scale.world import World
from integration.processes import free_port
from local_job import until
from trainingjob_api import resource
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.engine.cluster.key import NAME

_TESTS = Path(__file__).parents[2]


class Crowd:
    """They answer for the jobs that there are when they are started."""

    def __init__(self, world: World) -> None:
        rest, self._port = world.rest, free_port()
        jobs = rest("GET", f"/apis/{resource.API_VERSION}/{resource.PLURAL}").body["items"]
        secret = rest("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/{NAME}").body
        told = {
            "key": secret["data"]["key"],
            "port": Settings().rendezvous_port,
            "figures": self._port,
            "jobs": [[job["metadata"][field] for field in ("namespace", "name", "uid")] for job in jobs],
        }
        self.count = len(jobs)
        file = world.folder / "rendezvous.json"
        file.write_text(json.dumps(told))
        world.run("rendezvous", [sys.executable, "-m", "bench.scale.rendezvous", file], {"PYTHONPATH": str(_TESTS)})
        until("the rendezvous listen", self._listens)

    def standing(self) -> int:
        """Streams that stand."""
        return int(self._figures()["standing"])

    def step(self) -> float:
        """The step that all jobs are at, with the part of it that has passed."""
        return self._figures()["step"]

    def all_stand(self) -> bool:
        """Every job's stream does."""
        return self.standing() == self.count

    def _listens(self) -> bool:
        try:
            return self.standing() >= 0
        except OSError:
            return False

    def _figures(self) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{self._port}/", timeout=30) as answer:
            found: dict[str, float] = json.load(answer)
        return found
