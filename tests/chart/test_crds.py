"""The CRD's chart is the generated definition, and outlives its release."""

from typing import Any

import pytest

from chart.charts import CRDS, KUBERNETES, ROOT, Helm, Objects, load
from trainingjob_cli.generate import __main__ as generate


@pytest.fixture(scope="module")
def definition(helm: Helm) -> dict[str, Any]:
    (found,) = Objects(helm.template(CRDS, release="crds")).all
    return found


def test_the_chart_installs_exactly_the_generated_definition(definition: dict[str, Any]):
    generated = load(ROOT / "crds" / "trainingjob.yaml")

    assert definition["spec"] == generated["spec"]
    assert definition["metadata"]["name"] == generated["metadata"]["name"]
    assert definition.keys() == generated.keys()


def test_uninstalling_keeps_the_definition_and_with_it_every_job(definition: dict[str, Any]):
    assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definition_says_which_chart_brought_it(definition: dict[str, Any]):
    assert definition["metadata"]["labels"]["helm.sh/chart"] == "trainingjob-crds-0.1.0"
    assert definition["metadata"]["labels"]["app.kubernetes.io/instance"] == "crds"


def test_the_checked_in_template_is_current():
    assert (CRDS / "templates" / "trainingjob.yaml").read_text() == generate.chart_text(), "run make generate"


def test_braces_in_a_description_reach_the_cluster_as_they_are(helm: Helm, tmp_path, monkeypatch):
    text = "metadata:\n  name: trainingjobs.batch.trainingjob.dev\nspec: '{{ .Values }} and {{'\n"
    monkeypatch.setattr(generate, "definition_text", lambda: text)
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    for name in ("Chart.yaml", "templates/_helpers.tpl"):
        (chart / name).write_text((CRDS / name).read_text())
    (chart / "templates" / "trainingjob.yaml").write_text(generate.chart_text())

    (found,) = Objects(helm.template(chart)).all

    assert found["spec"] == "{{ .Values }} and {{"


def test_the_chart_has_no_values_but_helms_own(helm: Helm):
    assert helm.template(CRDS, {"global": {"team": "a"}})
    ended = helm.run("template", "crds", str(CRDS), "--kube-version", KUBERNETES, "--set", "keep=false")
    assert ended.returncode != 0
    assert "keep" in ended.stderr
