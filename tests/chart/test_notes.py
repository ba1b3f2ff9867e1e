"""What helm says at the end of an installation: it holds, and a reader gets on from there."""

import shutil
from pathlib import Path
from textwrap import dedent

import pytest
from ruamel.yaml import YAML

from chart.charts import CRDS, NAMESPACE, OPERATOR, Helm, Objects
from trainingjob_api.resource import TrainingJob

NOTES = 'kind: Notes\nmetadata: {name: notes}\nnotes: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}\n'


def notes(helm: Helm, chart: Path, folder: Path) -> str:
    """The notes of a chart; `helm template` leaves them out, so a template shows them."""
    copied = shutil.copytree(chart, folder / "chart")
    (copied / "templates" / "notes.yaml").write_text(NOTES)
    return str(Objects(helm.template(copied, release="tj")).one("Notes")["notes"])


@pytest.fixture
def said(helm: Helm, tmp_path: Path) -> str:
    return notes(helm, OPERATOR, tmp_path)


def test_the_notes_name_the_releases_own_objects(said: str):
    assert f"kubectl --namespace {NAMESPACE} rollout status deployment/tj-trainingjob-operator\n" in said
    assert f"kubectl --namespace {NAMESPACE} port-forward service/tj-trainingjob-operator-metrics 8080 " in said


def test_the_first_job_in_the_notes_is_a_valid_one(said: str):
    manifest = dedent(said.partition("<<EOF\n")[2].partition("  EOF\n")[0])

    job = TrainingJob.model_validate(YAML(typ="safe").load(manifest))

    assert job.metadata.name == "digits"
    assert "kubectl describe trainingjob digits\n" in said


def test_the_definitions_notes_lead_to_the_operator(helm: Helm, tmp_path: Path):
    said = notes(helm, CRDS, tmp_path)

    assert "trainingjob-operator" in said
    assert "`helm uninstall tj` keeps the definition" in said
