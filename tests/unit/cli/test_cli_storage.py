from pathlib import Path

import pytest

from trainingjob_cli import manifest, run
from trainingjob_cli.__main__ import main
from trainingjob_operator.local.jobs import WORKING_ANNOTATION, LocalJobs
from unit.cli.stored import BEGUN, KEY, make_stored


def test_a_manifest_without_a_storage_gets_one_below_the_state_folder_and_a_plan_says_what_stands_for_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "job.yaml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "storage" not in line))
    assert main(["plan", str(path)]) == 0
    planned = capsys.readouterr()
    assert "s3://some-bucket/default/digits" in planned.out
    assert "spec.checkpoint.storage is missing" in planned.err
    assert "--storage URI" in planned.err
    assert main(["plan", str(path), "--storage", "s3://bucket/digits"]) == 0
    assert capsys.readouterr().err == ""
    here, there = LocalJobs(folder / "state"), LocalJobs(folder / "other")
    found = [run.requested(path, None, None, None, None, jobs.storage)[0].spec.checkpoint.storage.uri for jobs in (here, there)]
    assert found == [f"file://{folder}/{root}/_storage/default/digits" for root in ("state", "other")]


def test_a_storage_below_the_state_folder_outlives_its_job_and_is_no_job(folder: Path) -> None:
    jobs = LocalJobs(folder / "state")
    assert "/_storage/" in jobs.storage("default", "digits")
    stored = Path(jobs.storage("default", "digits").removeprefix("file://"))
    make_stored(folder)
    stored.mkdir(parents=True)
    jobs.remove(KEY)
    assert stored.is_dir()
    assert jobs.all() == []


def test_a_job_works_where_run_was_called_last(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = folder / "first", folder / "second"
    for place in (first, second):
        place.mkdir()
    monkeypatch.chdir(first)
    jobs = make_stored(folder, BEGUN)
    found = jobs.read(KEY)
    assert found is not None
    assert found["metadata"]["annotations"][WORKING_ANNOTATION] == str(first)
    monkeypatch.chdir(second)
    run.keep(jobs, KEY, manifest.load(folder / "job.yaml"), folder)
    assert f"from now on job digits works in {second}" in capsys.readouterr().err
    moved = jobs.read(KEY)
    assert moved is not None
    assert moved["metadata"]["annotations"][WORKING_ANNOTATION] == str(second)
    assert moved["metadata"]["generation"] == found["metadata"]["generation"]
    run.keep(jobs, KEY, manifest.load(folder / "job.yaml"), folder)
    assert capsys.readouterr().err == ""
