"""Two operators, one of which leads: what keeps one of them there while nodes and versions change."""

from __future__ import annotations

from typing import Any

import pytest

from chart.charts import Helm, Objects

SELECTOR = {"app.kubernetes.io/name": "trainingjob-operator", "app.kubernetes.io/instance": "trainingjob-operator"}


def test_there_are_two_and_a_new_one_is_ready_before_an_old_one_goes(rendered: Objects):
    spec = rendered.one("Deployment")["spec"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_drain_takes_one_at_a_time_and_is_not_held_up_by_one_that_is_not_ready(rendered: Objects):
    assert rendered.one("PodDisruptionBudget")["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": SELECTOR},
    }


@pytest.mark.parametrize(
    "values", [{"replicas": 1}, {"replicas": 0}, {"podDisruptionBudget": {"create": False}}], ids=["one", "none", "unwanted"]
)
def test_no_budget_holds_up_a_drain(helm: Helm, values: dict[str, Any]):
    assert "PodDisruptionBudget" not in {kind for kind, _ in helm.render(values).names()}


def test_they_are_spread_over_the_nodes_where_there_is_room(rendered: Objects):
    (constraint,) = rendered.pod()["spec"]["topologySpreadConstraints"]

    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": SELECTOR},
        "matchLabelKeys": ["pod-template-hash"],
    }
    assert rendered.pod()["metadata"]["labels"].items() >= SELECTOR.items()


ZONES = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}


def test_another_spread_takes_the_place_of_the_charts_and_counts_the_charts_pods(helm: Helm):
    (constraint,) = helm.render({"topologySpreadConstraints": [ZONES]}).pod()["spec"]["topologySpreadConstraints"]

    assert constraint == ZONES | {"labelSelector": {"matchLabels": SELECTOR}, "matchLabelKeys": ["pod-template-hash"]}


def test_a_spread_may_count_other_pods(helm: Helm):
    chosen = ZONES | {"labelSelector": {"matchLabels": {"tier": "system"}}}

    assert helm.render({"topologySpreadConstraints": [chosen]}).pod()["spec"]["topologySpreadConstraints"] == [chosen]


def test_how_many_is_the_administrators_to_choose(helm: Helm):
    assert helm.render({"replicas": 3}).one("Deployment")["spec"]["replicas"] == 3
