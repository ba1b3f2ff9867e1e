"""What README tells a newcomer to type does what it says there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from local_job import COMMAND, ROOT
from trainingjob_api.resource import TrainingJob

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.timeout(420)
def test_the_first_command_trains_the_digits(tmp_path: Path) -> None:
    assert "$ make demo\n" in README
    environment = {**os.environ, "TRAININGJOB_STATE_DIR": str(tmp_path / "state")}
    shown = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    accuracy = re.search(r"accuracy \(held-out\)[^0-9]*(0\.\d+|1\.0+)", shown.stdout)
    assert accuracy is not None, shown.stdout
    assert float(accuracy[1]) >= 0.95
    (rollback,) = re.findall(r"`trainingjob (rollback digits --to-step \d+)`", README)
    for line in (rollback, "resume digits --plain"):
        done = subprocess.run([*COMMAND, *line.split()], env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"goes on from checkpoint {rollback.split()[-1]}" in done.stdout + done.stderr or "RolledBack" in done.stdout + done.stderr
    assert list((tmp_path / "state" / "_storage" / "default" / "digits" / "export").iterdir())


def test_ci_calls_the_second_command() -> None:
    assert "$ make test\n" in README
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_every_command_of_the_table_exists() -> None:
    named = set(re.findall(r"`trainingjob ([a-z]+)", README))
    assert {"run", "get", "rollback", "predict", "plan"} <= named
    for name in sorted(named):
        shown = subprocess.run([*COMMAND, name, "--help"], capture_output=True, text=True, timeout=60, check=False)
        assert shown.returncode == 0, f"{name}: {shown.stderr}"


@pytest.mark.parametrize("options", [[], ["--storage", "s3://bucket/digits"]], ids=["a stand-in", "named"])
def test_a_plan_of_the_first_example_is_made_as_the_documents_say(options: list[str]) -> None:
    for document in ("README.md", "docs/first-job.md"):
        assert re.search(r"`trainingjob plan FILE`.*`--storage URI`", (ROOT / document).read_text()), document
    words = [*COMMAND, "plan", str(ROOT / "examples/digits.yaml"), *options]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert ("--storage URI" in shown.stderr) is (options == [])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_whole_manifest_in_the_documents_is_valid(document: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL):
        if block.startswith("apiVersion: batch.trainingjob.dev"):
            TrainingJob.model_validate(YAML(typ="safe").load(block))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    for path in re.findall(r"\b((?:crds|operator|trainer_image|tests|examples|docs)/[\w/.-]+\.(?:py|yaml|md|sh))\b", document.read_text()):
        assert (ROOT / path).exists(), path
