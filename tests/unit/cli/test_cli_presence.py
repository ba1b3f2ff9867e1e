import os
from pathlib import Path

import pytest

from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Status
from trainingjob_cli.probes.presence import Presence, presence
from trainingjob_operator.local.folder import in_charge
from unit.local.manifests import KEY, make_job, make_jobs


def job(phase: str) -> TrainingJob:
    return TrainingJob.model_validate({**make_job(), "status": Status(phase=phase).to_object()})


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Suspended", ""])
def test_the_status_of_a_job_at_rest_stays_true_without_anybody(phase: str) -> None:
    seen = Presence(None, (), 500.0)
    assert seen.remark(job(phase)) == ""
    assert seen.marked(job(phase)).status.phase == phase


def test_a_status_that_nobody_writes_says_since_when_and_what_to_do() -> None:
    seen = Presence(None, (), 125.0)
    assert seen.marked(job("Running")).status.phase == "Running (stale)"
    assert seen.remark(job("Running")) == (
        "stale: nobody has written it for 2m; none of its processes lives: `trainingjob resume digits` goes on from the last checkpoint"
    )


@pytest.mark.parametrize("phase", ["Running", "Suspended"])
def test_processes_without_a_command_are_counted_whatever_the_status_says(phase: str) -> None:
    remark = Presence(None, (7, 8), 3.0).remark(job(phase))
    assert "2 of its processes live on without the command that started them" in remark
    assert "`trainingjob suspend digits` saves and ends them" in remark
    assert ("stale" in remark) is (phase == "Running")


def test_a_command_that_stands_still_is_named() -> None:
    assert "process 9, which looks after it, is stopped" in Presence(9, (7,), 3.0, is_stopped=True).remark(job("Running"))


def test_a_command_that_looks_after_its_job_needs_no_remark(tmp_path: Path) -> None:
    folder = make_jobs(tmp_path).folder(KEY)
    with in_charge(folder):
        seen = presence(folder, job("Running"))
    assert (seen.pid, seen.processes, seen.is_stopped) == (os.getpid(), (), False)
    assert seen.remark(job("Running")) == ""
    assert presence(folder, job("Running")).is_stale(job("Running"))
