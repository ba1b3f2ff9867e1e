"""What Prometheus' operator is told, where it is there."""

from __future__ import annotations

from typing import Any

import pytest

from chart.charts import Helm, Objects

KINDS = {"serviceMonitor": ("ServiceMonitor", "endpoints"), "podMonitor": ("PodMonitor", "podMetricsEndpoints")}


def monitor(helm: Helm, name: str, **values: Any) -> tuple[Objects, dict[str, Any]]:
    """The chart with this monitor, and the monitor."""
    objects = helm.render({name: {"create": True} | values})
    return objects, objects.one(KINDS[name][0])


def test_a_cluster_without_prometheus_operator_is_not_asked_for_its_kinds(rendered: Objects):
    assert not {each["apiVersion"] for each in rendered.all} & {"monitoring.coreos.com/v1"}


@pytest.mark.parametrize("name", KINDS)
def test_it_scrapes_the_operators_figures_and_keeps_the_jobs_own_namespace(helm: Helm, name: str):
    _, found = monitor(helm, name)

    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["spec"][KINDS[name][1]] == [{"port": "http", "path": "/metrics", "honorLabels": True}]


def test_the_service_monitor_finds_the_metrics_service(helm: Helm):
    objects, found = monitor(helm, "serviceMonitor")
    service = objects.one("Service")

    assert found["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert found["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_pod_monitor_finds_the_pods(helm: Helm):
    objects, found = monitor(helm, "podMonitor")

    assert found["spec"]["selector"]["matchLabels"].items() <= objects.pod()["metadata"]["labels"].items()
    assert found["spec"]["podMetricsEndpoints"][0]["port"] in {port["name"] for port in objects.container()["ports"]}


@pytest.mark.parametrize("name", KINDS)
def test_a_prometheus_that_selects_by_labels_finds_it_and_scrapes_as_often_as_asked(helm: Helm, name: str):
    _, found = monitor(helm, name, labels={"release": "prometheus"}, interval="15s")

    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "trainingjob-operator"
    assert found["spec"][KINDS[name][1]][0]["interval"] == "15s"


def test_both_at_once_are_refused_since_every_figure_would_be_there_twice(helm: Helm):
    said = helm.refusal({name: {"create": True} for name in KINDS})

    assert "serviceMonitor.create and podMonitor.create" in said
