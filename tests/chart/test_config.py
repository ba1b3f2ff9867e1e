"""What the operator is configured with: the chart's values and the program's Settings cannot drift apart."""

import json

import pytest
from pydantic.alias_generators import to_camel

from chart.charts import OPERATOR, Helm, Objects, load
from trainingjob_operator.registry import Settings

COMPUTED = {"defaultImage", "rendezvousImage", "namespaces", "watchNodes"}
"""Made from the values of the images, and from those that permissions are made from as well."""
OWN = {"operatorKey", "olderKeys"}
"""A secret; never in a configuration file."""
DIGEST = "sha256:" + "b" * 64


def settings(objects: Objects) -> Settings:
    """What the operator makes of its configuration."""
    return Settings.model_validate_json(objects.config())


def test_there_is_a_value_for_every_setting():
    fields = {to_camel(name) for name in Settings.model_fields}

    assert set(load(OPERATOR / "values.yaml")["config"]) == fields - COMPUTED - OWN


def test_the_charts_defaults_are_the_programs(rendered: Objects):
    assert settings(rendered) == Settings()


def test_an_empty_interface_is_left_to_gloo(rendered: Objects):
    assert "interface" not in json.loads(rendered.config())


def test_what_is_chosen_reaches_the_program(helm: Helm):
    chosen = {
        "operatorName": "example.com/mine",
        "interface": "eth1",
        "rendezvousPort": 30000,
        "rendezvousRequests": {"cpu": 1, "memory": "1Gi"},
        "rendezvousLimits": {"memory": 1000000000},
        "suspendTimeoutSeconds": 300,
        "progressSeconds": 0.5,
        "finishSeconds": 5,
        "terminationGraceSeconds": 600,
        "resyncSeconds": 60,
        "leaseSeconds": 5,
    }
    found = settings(helm.render({"config": chosen}))

    quantities = {"rendezvousRequests": {"cpu": "1", "memory": "1Gi"}, "rendezvousLimits": {"memory": "1e+09"}}
    assert {name: getattr(found, field) for field in Settings.model_fields if (name := to_camel(field)) in chosen} == chosen | quantities


def test_the_jobs_images_come_from_the_charts(helm: Helm):
    found = settings(helm.render({"image": {"digest": DIGEST}, "trainerImage": {"repository": "example.com/trainer", "tag": "2"}}))

    assert found.rendezvous_image == f"ghcr.io/trainingjob/operator@{DIGEST}"
    assert found.default_image == "example.com/trainer:2"


def test_the_operator_watches_what_it_has_rights_to(helm: Helm):
    found = settings(helm.render({"watchNamespaces": ["team-a", "team-b"], "watchNodes": False}))

    assert (found.namespaces, found.watch_nodes) == (("team-a", "team-b"), False)


def test_the_trainers_digest_wins_over_its_tag(helm: Helm):
    found = settings(helm.render({"trainerImage": {"tag": "2", "digest": DIGEST}}))

    assert found.default_image == f"ghcr.io/trainingjob/trainer@{DIGEST}"


def test_no_key_is_in_the_configuration(rendered: Objects):
    assert "key" not in rendered.config().lower()


def test_the_jobs_network_policies_let_the_operators_pod_in(rendered: Objects):
    assert settings(rendered).operator_pod_labels.items() <= rendered.pod()["metadata"]["labels"].items()


def test_labels_that_the_pod_does_not_have_are_refused(helm: Helm):
    labels = {"team": "ml"}

    assert "team=ml" in helm.refusal({"config": {"operatorPodLabels": labels}})
    assert helm.render({"config": {"operatorPodLabels": labels}, "podLabels": labels})


@pytest.mark.parametrize("values", [{"config": {"progressSeconds": 5}}, {"trainerImage": {"tag": "2"}}], ids=["config", "image"])
def test_a_changed_configuration_restarts_the_operator(helm: Helm, rendered: Objects, values: dict):
    checksum = "checksum/config"
    before, after = (each.pod()["metadata"]["annotations"] for each in (rendered, helm.render(values)))

    assert after[checksum] != before[checksum]


def test_an_unchanged_configuration_does_not(helm: Helm, rendered: Objects):
    assert helm.render({"podLabels": {"a": "b"}}).pod()["metadata"]["annotations"] == rendered.pod()["metadata"]["annotations"]
