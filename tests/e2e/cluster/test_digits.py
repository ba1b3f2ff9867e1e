"""The example that a newcomer applies: it trains on both nodes, the table tells the truth, and nothing is left of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.cluster.conftest import Make
from e2e.cluster.job import KIND, ClusterJob
from e2e.cluster.kube import Kube
from local_job import until

COLUMNS = ["NAME", "PHASE", "WORKERS", "STEP", "PROGRESS", "LOSS", "CHECKPOINT", "RESTARTS", "GOODPUT", "AGE"]
LOGGED = re.compile(r"^(\S+) .*trainingjob_trainer\.(?:reporting|loop): step (\d+)(?: of 600: loss (\S+),)?", re.MULTILINE)
"""A line of the trainer's log: time, step, and in some the loss."""
LATE = timedelta(seconds=12)
"""The status' figures are written every 10 seconds, of a report that may be a second old."""
Row = dict[str, str]


@pytest.mark.timeout(420)
def test_the_example_trains_on_both_nodes_and_the_table_is_true(installed: Kube, make: Make) -> None:
    job = make("digits", podRetention="Always")
    assert "created" in job.apply()
    placed = until("all workers are placed", lambda: _placed(job))
    assert placed == {pod["spec"]["nodeName"] for pod in installed.items("pods", "-n", job.namespace) if "nodeName" in pod["spec"]}
    assert len(placed) == 2, "spread over both nodes"
    for pod in job.pods().values():
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    rows = _rows_until_the_end(job)
    status = job.status()
    assert status["metrics"]["accuracy"] >= 0.95, status["metrics"]
    assert {row["WORKERS"] for _, row in rows if row["PHASE"] == "Running"} <= {"2/3", "3/3"}
    _agree_with_the_log(rows, job.kubectl("logs", job.worker(0), "--timestamps"))
    last = rows[-1][1]
    assert (last["STEP"], last["PROGRESS"], last["RESTARTS"]) == ("600/600", "100%", "0")
    assert int(last["CHECKPOINT"]) == 600 == max(_committed(job))
    until("its story is told", lambda: {"Created", "Started", "CheckpointCommitted", "Succeeded"} <= set(job.events()))
    job.patch(training={"epochs": 41})
    until("it has trained for one epoch more", lambda: job.status()["phase"] == "Succeeded" and job.status()["step"] == 615, 120)
    assert max(_committed(job)) == 615


@pytest.mark.timeout(120)
def test_a_deleted_job_leaves_nothing(make: Make, long: dict[str, Any]) -> None:
    job = make("short-lived", **long)
    job.apply()
    job.phase("Running")
    assert len(job.leftovers()) == 8, "pods of three workers and a rendezvous, Service, Secret, NetworkPolicy, ControllerRevision"
    job.delete()
    until("nothing is left", lambda: job.leftovers() == [])


def test_explained_and_found_by_its_full_name(installed: Kube) -> None:
    shown = installed.run("kubectl", "explain", "trainingjob.spec.checkpoint")
    assert "everySteps" in shown
    assert re.search(r"everySteps\s+<integer>\n\s+\S+", shown), "every field is explained"
    installed.run("kubectl", "get", KIND, "-A")
    installed.run("kubectl", "get", "tj", "-A")


def _placed(job: ClusterJob) -> set[str] | None:
    nodes = [pod["spec"].get("nodeName") for pod in job.pods().values()]
    return set(nodes) if len(nodes) == 3 and all(nodes) else None


def _rows_until_the_end(job: ClusterJob) -> list[tuple[datetime, Row]]:
    """What `kubectl get trainingjobs` prints until the job has ended, and when."""
    rows: list[tuple[datetime, Row]] = []

    def ended() -> bool:
        head, line = job.kubectl("get", KIND, job.name).splitlines()
        assert head.split() == COLUMNS
        starts = [head.index(name) for name in COLUMNS]
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        row = dict(zip(COLUMNS, cells, strict=True))
        rows.append((datetime.now(UTC), row))
        assert row["PHASE"] != "Failed", job.status()["message"]
        return row["PHASE"] == "Succeeded"

    until("the job has ended", ended, 240)
    return rows


def _agree_with_the_log(rows: list[tuple[datetime, Row]], text: str) -> None:
    """No row is ahead of the trainer, and none is far behind it; the last one says what the trainer said last."""
    logged = [(datetime.fromisoformat(time), int(step), loss) for time, step, loss in LOGGED.findall(text)]
    assert len(logged) > 20, text
    seen = [(time, int(row["STEP"].split("/")[0])) for time, row in rows if row["STEP"]]
    assert len({step for _, step in seen}) > 2, "it was seen on its way"
    for time, step in seen:
        assert max((done for when, done, _ in logged if when < time - LATE), default=0) <= step
        assert step <= min((done for when, done, _ in logged if when > time), default=600)
    _, last_step, last_loss = next(line for line in reversed(logged) if line[2])
    assert last_step == 600
    assert float(rows[-1][1]["LOSS"]) == float(last_loss)


def _committed(job: ClusterJob) -> list[int]:
    """Steps of the checkpoints that lie in the bucket."""
    prefix = job.manifest["spec"]["checkpoint"]["storage"]["uri"].partition(f"{job.kube.storage.bucket}/")[2]
    return [
        int(found[1])
        for key in job.kube.storage.list(f"{prefix}/saves/")
        if (found := re.search(r"/saves/(\d+)-[^/]+/manifest.json$", key))
    ]
