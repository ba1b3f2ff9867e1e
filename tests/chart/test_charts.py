"""Both charts as a whole: helm's own checks, which objects there are, and the versions they are for."""

import tomllib
from pathlib import Path

import pytest

from chart.charts import CRDS, KUBERNETES, NAMESPACE, OPERATOR, ROOT, Helm, Objects, load

CHARTS = (CRDS, OPERATOR)
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_helm_finds_nothing_to_say_against_a_chart(helm: Helm, chart: Path):
    ended = helm.run("lint", "--strict", "--kube-version", KUBERNETES, str(chart))

    assert ended.returncode == 0, ended.stdout
    assert "[WARNING]" not in ended.stdout


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_cluster_that_is_too_old_is_refused(helm: Helm, chart: Path):
    ended = helm.run("template", "x", str(chart), "--kube-version", "1.28.9")

    assert ended.returncode != 0
    assert "1.29" in ended.stderr


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
@pytest.mark.parametrize("version", ["1.29.0", "v1.31.5-gke.1023000", "1.35.4"])
def test_a_cluster_that_is_new_enough_is_taken(helm: Helm, chart: Path, version: str):
    assert helm.template(chart, {}, "--kube-version", version)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_has_the_products_version(chart: Path):
    product = tomllib.loads((ROOT / "operator" / "pyproject.toml").read_text())["project"]["version"]
    about = load(chart / "Chart.yaml")

    assert (about["version"], about["appVersion"]) == (product, product)


def test_the_operators_chart_makes_these_objects_and_no_others(rendered: Objects):
    name = "trainingjob-operator"
    assert rendered.names() == {
        ("ServiceAccount", name),
        ("ConfigMap", name),
        ("ClusterRole", name),
        ("ClusterRole", f"{name}-view"),
        ("ClusterRole", f"{name}-edit"),
        ("ClusterRoleBinding", name),
        ("Role", name),
        ("RoleBinding", name),
        ("Service", f"{name}-metrics"),
        ("Deployment", name),
        ("PodDisruptionBudget", name),
        *((kind, f"{name}-{suffix}") for kind in POLICIES for suffix in ("children", "pods", "secrets", "accounts")),
    }


def test_every_object_lies_in_the_releases_namespace_or_in_none(rendered: Objects):
    clusterwide = {"ClusterRole", "ClusterRoleBinding", *POLICIES}
    found = {each["kind"]: each["metadata"].get("namespace") for each in rendered.all}

    assert found == {kind: None if kind in clusterwide else NAMESPACE for kind in found}


LASTING = {
    "app.kubernetes.io/name": "trainingjob-operator",
    "app.kubernetes.io/instance": "trainingjob-operator",
    "app.kubernetes.io/component": "operator",
    "app.kubernetes.io/part-of": "trainingjob",
    "app.kubernetes.io/managed-by": "Helm",
}
VERSIONS = {"app.kubernetes.io/version": "0.1.0", "helm.sh/chart": "trainingjob-operator-0.1.0"}


def test_every_object_says_which_chart_made_it(rendered: Objects):
    for each in rendered.all:
        assert each["metadata"]["labels"].items() >= (LASTING | VERSIONS).items()


def test_the_pods_labels_are_those_that_no_version_changes(rendered: Objects):
    assert rendered.pod()["metadata"]["labels"] == LASTING


def test_common_labels_are_on_every_object_and_on_the_pod_and_the_charts_own_win(helm: Helm):
    objects = helm.render({"commonLabels": {"team": "ml", "app.kubernetes.io/name": "mine"}})

    expected = {"team": "ml", "app.kubernetes.io/name": "trainingjob-operator"}
    for each in [*objects.all, objects.pod()]:
        assert each["metadata"]["labels"].items() >= expected.items()
    assert "team" not in objects.one("Deployment")["spec"]["selector"]["matchLabels"]
