"""Whatever a manifest says: the API server takes it or says why not, and what it takes crashes nobody."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings

from integration.api.shapes import manifests
from integration.jobs import Jobs
from integration.rest import Rest
from trainingjob_operator.controllers.training_job.child_kinds import CHILDREN
from trainingjob_operator.controllers.training_job.cluster.known import KnownJob, read
from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Plan
from trainingjob_operator.engine.values import Manifest

SETTINGS = Settings()
EXAMPLES = 150
PASSES = 4


class Fuzz:
    """What becomes of manifests."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest, self.jobs = rest, Jobs(rest, namespace)
        self.seen: Counter[str] = Counter()

    def try_one(self, body: dict[str, Any]) -> None:
        """To the API server with it; if it is taken, the operator's first passes over it."""
        answer = self.jobs.create(body)
        self.seen[str(answer.code)] += 1
        assert answer.code in (201, 400, 422), (answer.code, answer.message)
        if answer.code != 201:
            assert answer.message
            return
        try:
            self._operate(answer.body)
        finally:
            self.rest("DELETE", f"{self.jobs.path}/{body['metadata']['name']}")

    def _operate(self, manifest: Manifest) -> None:
        for _ in range(PASSES):
            known = read(manifest)
            decided = plan(Observed(job=known.job, problem=known.problem), SETTINGS, datetime.now(UTC))
            self._check(known, decided)
            if known.job.status != decided.status:
                written = self.jobs.patch_status(manifest["metadata"]["name"], {"status": decided.status.to_object()})
                assert written.ok, written.message
                manifest = written.body
            for child in decided.create:
                self._make(child)

    def _check(self, known: KnownJob, decided: Plan) -> None:
        valid = decided.status.condition("Valid")
        ours = known.job.spec.managed_by == SETTINGS.operator_name
        if known.problem or ours:
            assert valid is not None
            assert valid.status == "False" or not known.problem
        if valid is not None and valid.status == "False":
            self.seen["invalid"] += 1
            assert valid.message.startswith(("spec", "metadata")), valid.message
            assert decided.create == ()

    def _make(self, child: Manifest) -> None:
        """As a trial: nothing is kept. What the API server refuses, the job waits for, and says so."""
        resource = CHILDREN[child["kind"]]
        made = self.rest("POST", resource.path(child["metadata"]["namespace"]), child, dryRun="All")
        self.seen[f"{child['kind']} {made.code}"] += 1
        assert made.code in (201, 400, 403, 404, 422), (made.code, made.message)
        assert made.ok or made.message


def test_no_manifest_crashes_the_operator_or_the_api_server(rest: Rest, namespace: str) -> None:
    fuzz = Fuzz(rest, namespace)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(manifests())
    def run(body: dict[str, Any]) -> None:
        fuzz.try_one(body)

    run()
    print(dict(fuzz.seen))
    assert fuzz.seen["201"] > EXAMPLES / 10, fuzz.seen
    assert fuzz.seen["422"] > EXAMPLES / 10, fuzz.seen
    assert fuzz.seen["invalid"] > EXAMPLES / 50, fuzz.seen
    assert fuzz.seen["Pod 201"] > EXAMPLES / 10, fuzz.seen
