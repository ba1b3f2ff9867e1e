"""Names and selectors: constant over upgrades, and valid whatever the release is called."""

import re

import pytest

from chart.charts import Helm, Objects

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LONG = "a" * 26 + "-" + "b" * 26
"""As long as helm lets a release's name be."""


def references(objects: Objects) -> set[str]:
    """The names that objects of the chart call each other by."""
    pod = objects.pod()["spec"]
    bindings = [objects.one("ClusterRoleBinding"), objects.one("RoleBinding")]
    mounted = {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}
    return {each["roleRef"]["name"] for each in bindings} | {pod["serviceAccountName"]} | mounted


@pytest.mark.parametrize("release", ["tj", "team.prod", "trainingjob-operator", "trainingjob-operator-2", LONG, "1e3.a", "9"])
def test_whatever_the_release_is_called_every_name_is_a_label(helm: Helm, release: str):
    begins_with_digit = release[0].isdigit()
    objects = helm.render({"fullnameOverride": "chosen"} if begins_with_digit else {}, release=release)

    assert [name for _, name in objects.names() if not LABEL.fullmatch(name)] == []
    assert len(objects.names()) == len(objects.all)
    assert references(objects) <= {name for _, name in objects.names()}
    assert objects.pod()["metadata"]["labels"]["app.kubernetes.io/instance"] == release


def test_a_long_name_keeps_the_whole_of_the_releases(helm: Helm):
    names = {name for _, name in helm.render(release=LONG).names()}

    assert all(name.startswith(LONG) for name in names)
    assert f"{LONG}-t-metrics" in names


def test_a_release_that_begins_with_a_digit_is_refused_with_the_remedy(helm: Helm):
    assert "fullnameOverride" in helm.refusal({}, release="9lives")


def test_the_name_can_be_chosen(helm: Helm):
    objects = helm.render({"fullnameOverride": "tj"}, release="release")

    assert objects.one("Deployment")["metadata"]["name"] == "tj"
    assert ("Service", "tj-metrics") in objects.names()


def test_an_upgrade_changes_neither_names_nor_selectors(helm: Helm, rendered: Objects):
    values = {"image": {"tag": "9.9.9"}, "podLabels": {"team": "ml"}, "config": {"progressSeconds": 5}, "logLevel": "debug"}
    upgraded = helm.render(values, "--is-upgrade")

    assert upgraded.names() == rendered.names()
    for kind in ("Deployment", "Service"):
        assert upgraded.one(kind)["spec"]["selector"] == rendered.one(kind)["spec"]["selector"]


def test_nothing_that_grows_with_the_version_is_selected_by(rendered: Objects):
    assert rendered.one("Deployment")["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "trainingjob-operator",
        "app.kubernetes.io/instance": "trainingjob-operator",
    }
